"""Reader of chat completions: stream chunks and complete bodies, to steps.

All choices are one answer, because some providers put a call into a second one; only if the request wants several, the
first alone is read. Finish is yielded at the end, because usage arrives after the finish reason and some providers
still send calls then. An error within a stream becomes a Failure with its code; its text is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from inference_app.conversion.failures import provider_error
from inference_app.conversion.readers.calls import CallSequencer, signature_of
from inference_app.conversion.steps import (
    Citation,
    End,
    Failure,
    Finish,
    FinishReason,
    Json,
    Reasoning,
    Refusal,
    Seal,
    Start,
    Step,
    Text,
    UsageReport,
    cut_off_failure,
    malformed_failure,
    unreadable_failure,
)
from inference_app.conversion.usage import Usage, merge_usage, usage_of_chat

_FAULTS = frozenset({"error", "insufficient_system_resource", "abort"})
"""Finish reasons that mean a failure, of OpenRouter, DeepSeek and vLLM."""

_NONE = frozenset({"", "null", "none"})
"""Texts that some providers send in place of null."""

_REASONS = {
    "length": FinishReason.LENGTH,
    "max_tokens": FinishReason.LENGTH,
    "model_length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
    "safety": FinishReason.CONTENT_FILTER,
    "recitation": FinishReason.CONTENT_FILTER,
    "refusal": FinishReason.CONTENT_FILTER,
}
_PLAIN = frozenset({"role", "content"})
_KNOWN_PARTS = frozenset({"text", "output_text", "thinking", "reasoning", "refusal"})


class ChatReader:
    """Reader of one completion of the wire `openai-chat`. `several`: the request wants more than one choice."""

    def __init__(self, new_id: Callable[[str], str], taken: Iterable[str] = (), *, several: bool = False) -> None:
        self._calls = CallSequencer(new_id, taken)
        self._several = several
        self._started = False
        self._delayed: list[Step] = []
        self._reasons: dict[Any, str] = {}
        self._sequence: str | None = None
        self._usage: Usage | None = None
        self._details: list[Json] = []
        self._sealed = False
        self._cited: set[str] = set()
        self._pages: list[str] = []
        self._length = 0
        self._has_content = False
        self._lost = False

    def read(self, event: Json) -> Iterator[Step]:
        """Yields the steps of one chunk."""
        if event.get("error"):
            yield provider_error(event["error"])
            return
        if not self._started:
            self._started = True
            yield _start_step(event)
        if event.get("usage"):
            self._usage = merge_usage(self._usage, usage_of_chat(event["usage"]))
        elif isinstance(groq := event.get("x_groq"), dict):
            self._usage = merge_usage(self._usage, usage_of_chat(groq.get("usage")))
        for choice in _choices(event):
            if self._several and choice.get("index"):
                continue
            if choice.get("usage"):
                self._usage = merge_usage(self._usage, usage_of_chat(choice["usage"]))
            yield from self._read_choice(choice.get("delta") or choice.get("message") or {}, choice)
        if pages := event.get("citations"):
            self._pages = [page for page in pages if isinstance(page, str)] if isinstance(pages, list) else []

    def end(self) -> Iterator[Step]:
        """Yields the last steps, after `[DONE]` or the end of the connection."""
        if not self._reasons:
            yield cut_off_failure()
            return
        yield from self._calls.end()
        yield from self._delayed
        if fault := next((reason for reason in self._reasons.values() if reason in _FAULTS), None):
            yield Failure(fault, "The provider broke off its answer.")
            return
        if self._lost and not self._has_content and not self._calls.seen:
            yield unreadable_failure()
            return
        if self._sealed:
            yield self._take_seal()
        for page in self._pages:
            if page not in self._cited:
                yield Citation(page, page, self._length, self._length)
        yield Finish(self._finish_reason(), self._sequence)
        if self._usage is not None:
            yield UsageReport(self._usage)
        yield End()

    def read_body(self, body: Json) -> Iterator[Step]:
        """Yields the steps of a complete `chat.completion`."""
        if not body.get("error") and not _choices(body):
            yield malformed_failure()
            return
        yield from self.read(body)
        if not body.get("error"):
            # Some local servers omit the finish reason of a complete body.
            self._reasons = self._reasons or {0: FinishReason.STOP.value}
            yield from self.end()

    def _read_choice(self, delta: Json, choice: Json) -> Iterator[Step]:
        content = delta.get("content")
        if delta.keys() <= _PLAIN and isinstance(content, str) and not choice.get("logprobs"):
            # Nearly every delta.
            if content:
                if self._sealed:
                    yield from self._emit(self._take_seal())
                self._length += len(content)
                yield from self._emit(Text(content))
        else:
            yield from self._read_delta(delta, content, choice)
        reason = choice.get("finish_reason")
        if reason and str(reason).lower() not in _NONE:
            self._reasons[choice.get("index") or 0] = str(reason).lower()
            stop = choice.get("stop_reason")
            self._sequence = stop if isinstance(stop, str) and reason == "stop" else self._sequence

    def _read_delta(self, delta: Json, content: Any, choice: Json) -> Iterator[Step]:
        if thought := _reasoning_text(delta, content):
            yield from self._emit(Reasoning(thought))
        if isinstance(details := delta.get("reasoning_details"), list):
            self._note_details(details)
        if self._sealed and (content or delta.get("tool_calls")):
            # Before what was thought for: clients take a message for complete whose last block is text.
            yield from self._emit(self._take_seal())
        text, noted = _content_text(content), _logprobs(choice)
        if text or noted:
            self._length += len(text)
            yield from self._emit(Text(text, noted))
        if refusal := delta.get("refusal") or _refusal_text(content):
            yield from self._emit(Refusal(refusal))
        self._lost = self._lost or bool(delta.get("audio") or delta.get("images")) or _has_unknown_parts(content)
        yield from self._calls.read_deltas(_calls_of(delta), choice.get("index") or 0)
        for annotation in delta.get("annotations") or ():
            yield from self._cite(annotation)
        if (signature := signature_of(delta)) is not None:
            yield from self._emit(Seal({"format": "google", "signature": signature}, alone=True))

    def _note_details(self, details: list[Any]) -> None:
        for detail in details:
            if isinstance(detail, dict):
                self._details.append(detail)
                self._sealed = self._sealed or bool(detail.get("signature") or detail.get("data"))

    def _take_seal(self) -> Seal:
        details, self._details, self._sealed = self._details, [], False
        return Seal({"format": "details", "details": _joined_details(details)}, alone=True)

    def _cite(self, annotation: Any) -> Iterator[Step]:
        page = annotation.get("url_citation") if isinstance(annotation, dict) else None
        if isinstance(page, dict) and isinstance(page.get("url"), str):
            self._cited.add(page["url"])
            places = [page.get(name) for name in ("start_index", "end_index")]
            start, end = (place if isinstance(place, int) else self._length for place in places)
            cited = page.get("content")
            text = cited if isinstance(cited, str) and cited else None
            yield from self._emit(Citation(page["url"], str(page.get("title") or ""), start, end, text))

    def _emit(self, step: Step) -> Iterator[Step]:
        """Yields a content step after ending the open calls; delays it while a call is incomplete."""
        self._has_content = True
        if not self._calls.complete:
            self._delayed.append(step)
            return
        yield from self._calls.end()
        delayed, self._delayed = self._delayed, []
        yield from delayed
        yield step

    def _finish_reason(self) -> FinishReason:
        """Returns the reason by what was made: a call is a reason of its own."""
        made = FinishReason.TOOL_CALLS if self._calls.seen else FinishReason.STOP
        return next((_REASONS[reason] for reason in self._reasons.values() if reason in _REASONS), made)


def _choices(event: Json) -> list[Json]:
    choices = event.get("choices")
    return [choice for choice in choices if isinstance(choice, dict)] if isinstance(choices, list) else []


def _start_step(event: Json) -> Start:
    created = event.get("created")
    return Start(event.get("id"), event.get("model"), int(created) if isinstance(created, int | float) else None)


def _parts(content: Any) -> list[Json]:
    """Returns the parts of a list (Mistral) or of a single part."""
    parts = content if isinstance(content, list) else [content]
    return [part for part in parts if isinstance(part, dict)]


def _content_text(content: Any) -> str:
    """Returns the text of a string or of parts."""
    if isinstance(content, str) or not content:
        return content or ""
    if isinstance(content, list) and any(isinstance(part, str) for part in content):
        return "".join(part if isinstance(part, str) else _content_text(part) for part in content)
    return "".join(part.get("text") or "" for part in _parts(content) if part.get("type") in ("text", "output_text"))


def _reasoning_text(delta: Json, content: Any) -> str:
    """Returns the reasoning of a delta, in the first of the fields in use that has any."""
    for name in ("reasoning_content", "reasoning", "thinking"):
        if (text := delta.get(name)) and isinstance(text, str):
            return text
    if content and not isinstance(content, str):
        return "".join(map(_thinking_text, _parts(content)))
    return "".join(map(_detail_text, _parts(delta.get("reasoning_details"))))


def _thinking_text(part: Json) -> str:
    """Returns the text of a `thinking` part, which is a string or, at Mistral, a list of text parts."""
    if part.get("type") not in ("thinking", "reasoning"):
        return ""
    inner = part.get("thinking") or part.get("reasoning") or part.get("text") or ""
    return inner if isinstance(inner, str) else _content_text(inner)


def _detail_text(detail: Json) -> str:
    text = detail.get("text") or detail.get("summary")
    return text if isinstance(text, str) else ""


def _refusal_text(content: Any) -> str:
    if isinstance(content, str) or not content:
        return ""
    return "".join(part.get("refusal") or "" for part in _parts(content) if part.get("type") == "refusal")


def _has_unknown_parts(content: Any) -> bool:
    if isinstance(content, str) or not content:
        return False
    return any(part.get("type") not in _KNOWN_PARTS for part in _parts(content))


def _calls_of(delta: Json) -> Any:
    """Returns the calls of a delta; the older `function_call` is the only one of its answer."""
    calls, older = delta.get("tool_calls"), delta.get("function_call")
    if isinstance(calls, dict):
        return [calls]
    if not calls and isinstance(older, dict):
        return [{"index": "function_call", "function": older}]
    return calls


def _joined_details(details: list[Json]) -> list[Json]:
    """Returns OpenRouter's details with the deltas of the same index joined."""
    joined: dict[Any, Json] = {}
    for number, detail in enumerate(details):
        index = detail.get("index", number)
        known = joined.setdefault((index, detail.get("type")), {})
        for name, value in detail.items():
            if name in ("text", "summary", "data") and isinstance(value, str) and isinstance(known.get(name), str):
                known[name] += value
            elif value is not None or name not in known:
                known[name] = value
    return list(joined.values())


def _logprobs(choice: Json) -> tuple[Json, ...]:
    return tuple((choice.get("logprobs") or {}).get("content") or ())
