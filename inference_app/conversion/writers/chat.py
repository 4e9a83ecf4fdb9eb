"""Writer of chat completions: steps to stream chunks and the complete completion.

The usage chunk is written only for clients that requested it. The empty event at the end becomes `[DONE]`.
"""

from __future__ import annotations

from collections.abc import Callable

from inference_app.conversion import steps
from inference_app.conversion.call_ids import sign_call_id
from inference_app.conversion.error_objects import openai_error
from inference_app.conversion.failures import CompletionError
from inference_app.conversion.sealed_reasoning import details_of
from inference_app.conversion.steps import FinishReason, Json, Step
from inference_app.conversion.tool_names import ToolNames
from inference_app.conversion.usage import Usage


class ChatWriter:
    """Writer of one completion for a Chat Completions client."""

    def __init__(self, request: Json, names: ToolNames, new_id: Callable[[str], str], now: Callable[[], float]) -> None:
        self.whole = False
        options = request.get("stream_options")
        self._include_usage = isinstance(options, dict) and options.get("include_usage") is True
        self._names = names
        self._id = new_id("chatcmpl")
        self._created = int(now())
        self._model = str(request.get("model") or "")
        self._started = False
        self._pieces: dict[str, list[str]] = {}
        self._calls: list[Json] = []
        self._logprobs: list[Json] = []
        self._details: list[Json] = []
        self._thoughts: list[str] = []
        self._annotations: list[Json] = []
        self._length = self._part = 0
        self._reason: FinishReason | None = None
        self._usage: Usage | None = None

    def write(self, step: Step) -> list[Json]:
        match step:
            case steps.Start():
                self._model = step.model or self._model
                self._created = step.created or self._created
                return self._start_chunks()
            case steps.Text():
                self._logprobs += step.logprobs
                self._length += len(step.delta)
                return self._write_delta("content", step.delta, step.logprobs)
            case steps.PartStart():
                self._part = self._length
            case steps.Citation():
                return self._write_citation(step)
            case steps.Refusal():
                return self._write_delta("refusal", step.delta)
            case steps.Reasoning():
                self._thoughts.append(step.delta)
                return self._write_delta("reasoning_content", step.delta)
            case steps.Seal():
                return self._write_seal(step)
            case steps.CallStart():
                return self._write_call(step)
            case steps.CallInput():
                return self._write_input(step.delta)
            case steps.Finish():
                self._reason = step.reason
                return [self._chunk({}, finish=step.reason)]
            case steps.UsageReport():
                self._usage = step.usage
                return [self._usage_chunk(step.usage)] if self._include_usage else []
            case steps.End():
                return [{}]
            case steps.Failure():
                return [openai_error(step)]
        return []

    def final_body(self) -> Json:
        pieces_are_text = all(isinstance(piece, str) for pieces in self._pieces.values() for piece in pieces)
        if self._reason is None or not pieces_are_text:
            raise CompletionError(steps.malformed_failure())
        texts = {name: "".join(pieces) for name, pieces in self._pieces.items()}
        message = {
            "role": "assistant",
            "content": None,
            "refusal": None,
            **texts,
            **({"annotations": self._annotations} if self._annotations else {}),
            **({"reasoning_details": self._details} if self._details else {}),
            **({"tool_calls": self._calls} if self._calls else {}),
        }
        logprobs = {"content": self._logprobs, "refusal": None} if self._logprobs else None
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": self._reason.value}
        usage = self._usage.as_chat() if self._usage is not None else None
        return {**self._head("chat.completion"), "choices": [choice], **({"usage": usage} if usage else {})}

    def _start_chunks(self) -> list[Json]:
        if self._started:
            return []
        self._started = True
        return [self._chunk({"role": "assistant", "content": ""})]

    def _write_delta(self, name: str, delta: str, logprobs: tuple[Json, ...] = ()) -> list[Json]:
        self._pieces.setdefault(name, []).append(delta)
        return [*self._start_chunks(), self._chunk({name: delta}, logprobs)]

    def _write_citation(self, step: steps.Citation) -> list[Json]:
        places = {"start_index": self._part + step.start, "end_index": self._part + step.end}
        page = {"url": step.url, "title": step.title, **places}
        self._annotations.append({"type": "url_citation", "url_citation": page})
        # Clients put the entries of a list together by their indexes.
        delta = {"index": len(self._annotations) - 1, **self._annotations[-1]}
        return [*self._start_chunks(), self._chunk({"annotations": [delta]})]

    def _write_seal(self, step: steps.Seal) -> list[Json]:
        """Returns the chunk with the state of the reasoning so far, as OpenRouter sends it."""
        text = "" if step.alone else "".join(self._thoughts)
        self._thoughts = []
        details = details_of(step.value, text, len(self._details))
        self._details += details
        return [*self._start_chunks(), self._chunk({"reasoning_details": details})]

    def _write_call(self, step: steps.CallStart) -> list[Json]:
        origin = self._names.origin(step.name)
        kind, value = ("custom", "input") if step.custom else ("function", "arguments")
        call_id = sign_call_id(step.id, step.signature) if step.signature else step.id
        call: Json = {"id": call_id, "type": kind, kind: {"name": origin.name, value: ""}}
        self._calls.append(call)
        delta = {"index": len(self._calls) - 1, **call, kind: dict(call[kind])}
        return [*self._start_chunks(), self._chunk({"tool_calls": [delta]})]

    def _write_input(self, text: str) -> list[Json]:
        call = self._calls[-1]
        kind, value = ("custom", "input") if call["type"] == "custom" else ("function", "arguments")
        call[kind][value] += text
        return [self._chunk({"tool_calls": [{"index": len(self._calls) - 1, kind: {value: text}}]})]

    def _head(self, kind: str) -> Json:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _chunk(self, delta: Json, logprobs: tuple[Json, ...] = (), finish: FinishReason | None = None) -> Json:
        if self.whole:
            return {}
        noted = {"content": list(logprobs), "refusal": None} if logprobs else None
        choice = {"index": 0, "delta": delta, "logprobs": noted, "finish_reason": finish.value if finish else None}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _usage_chunk(self, usage: Usage) -> Json:
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage.as_chat()}
