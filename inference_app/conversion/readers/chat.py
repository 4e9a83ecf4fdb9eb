"""Reader of chat completions: stream chunks and complete bodies, to steps.

Only the first choice is read. Finish is yielded at the end, because usage arrives after the finish reason and some
providers still send calls then. An error within a stream becomes a Failure with its code; its text is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from inference_app.conversion.failures import provider_error
from inference_app.conversion.readers.calls import CallSequencer
from inference_app.conversion.steps import (
    End,
    Failure,
    Finish,
    FinishReason,
    Json,
    Reasoning,
    Refusal,
    Start,
    Step,
    Text,
    UsageReport,
    cut_off_failure,
    malformed_failure,
)
from inference_app.conversion.usage import Usage, usage_of_chat

_FAULTS = frozenset({"error", "insufficient_system_resource"})
"""Finish reasons that mean a failure, of OpenRouter and DeepSeek."""

_REASONS = {
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
}


class ChatReader:
    """Reader of one completion of the wire `openai-chat`."""

    def __init__(self, new_id: Callable[[str], str], taken: Iterable[str] = ()) -> None:
        self._calls = CallSequencer(new_id, taken)
        self._started = False
        self._delayed: list[Step] = []
        self._reason: str | None = None
        self._sequence: str | None = None
        self._usage: Usage | None = None

    def read(self, event: Json) -> Iterator[Step]:
        """Yields the steps of one chunk."""
        if event.get("error"):
            yield provider_error(event["error"])
            return
        if not self._started:
            self._started = True
            yield _start_step(event)
        self._usage = usage_of_chat(event.get("usage")) or self._usage
        choice = _first_choice(event)
        if choice is not None:
            yield from self._read_choice(choice.get("delta") or choice.get("message") or {}, choice)

    def end(self) -> Iterator[Step]:
        """Yields the last steps, after `[DONE]` or the end of the connection."""
        if self._reason is None:
            yield cut_off_failure()
            return
        yield from self._calls.end()
        yield from self._delayed
        if self._reason in _FAULTS:
            yield Failure(self._reason, "The provider broke off its answer.")
            return
        yield Finish(self._finish_reason(), self._sequence)
        if self._usage is not None:
            yield UsageReport(self._usage)
        yield End()

    def read_body(self, body: Json) -> Iterator[Step]:
        """Yields the steps of a complete `chat.completion`."""
        if not body.get("error") and _first_choice(body) is None:
            yield malformed_failure()
            return
        yield from self.read(body)
        if not body.get("error"):
            # Some local servers omit the finish reason of a complete body.
            self._reason = self._reason or FinishReason.STOP
            yield from self.end()

    def _read_choice(self, delta: Json, choice: Json) -> Iterator[Step]:
        thought = delta.get("reasoning_content") or delta.get("reasoning")
        if thought and isinstance(thought, str):
            yield from self._emit(Reasoning(thought))
        if text := _content_text(delta.get("content")):
            yield from self._emit(Text(text, _logprobs(choice)))
        if refusal := delta.get("refusal"):
            yield from self._emit(Refusal(refusal))
        yield from self._calls.read_deltas(delta.get("tool_calls"))
        if reason := choice.get("finish_reason"):
            self._reason = str(reason)
            stop = choice.get("stop_reason")
            self._sequence = stop if isinstance(stop, str) and reason == "stop" else None

    def _emit(self, step: Step) -> Iterator[Step]:
        """Yields a content step after ending the open calls; delays it while a call is incomplete."""
        if not self._calls.complete:
            self._delayed.append(step)
            return
        yield from self._calls.end()
        yield step

    def _finish_reason(self) -> FinishReason:
        reason = _REASONS.get(self._reason or "", FinishReason.STOP)
        return FinishReason.TOOL_CALLS if reason is FinishReason.STOP and self._calls.seen else reason


def _first_choice(event: Json) -> Json | None:
    choices = event.get("choices")
    return choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else None


def _start_step(event: Json) -> Start:
    created = event.get("created")
    return Start(event.get("id"), event.get("model"), int(created) if isinstance(created, int | float) else None)


def _content_text(content: Any) -> str:
    """Returns the text of a string or of a list of parts (Mistral)."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if part.get("type") == "text")
    return content if isinstance(content, str) else ""


def _logprobs(choice: Json) -> tuple[Json, ...]:
    return tuple((choice.get("logprobs") or {}).get("content") or ())
