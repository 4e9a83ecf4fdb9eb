"""Steps as chat completions: chunks of a stream, and the whole completion.

The chunk with the usage is written for the client that asked for it; the empty event at the end is `[DONE]`.
"""

from __future__ import annotations

from collections.abc import Callable

from inference_app.conversion import steps
from inference_app.conversion.failures import AnswerFailed
from inference_app.conversion.names import ToolNames
from inference_app.conversion.refused import openai_error
from inference_app.conversion.steps import Json, Reason, Step
from inference_app.conversion.usage import Usage


class ChatWriter:
    """Writes one answer for a client of chat completions."""

    def __init__(self, request: Json, names: ToolNames, new_id: Callable[[str], str], now: Callable[[], float]) -> None:
        options = request.get("stream_options")
        self._usage_asked = isinstance(options, dict) and options.get("include_usage") is True
        self._names = names
        self._id = new_id("chatcmpl")
        self._created = int(now())
        self._model = str(request.get("model") or "")
        self._begun = False
        self._said_so_far: dict[str, list[str]] = {}
        self._calls: list[Json] = []
        self._logprobs: list[Json] = []
        self._reason: Reason | None = None
        self._usage: Usage | None = None

    def write(self, step: Step) -> list[Json]:
        match step:
            case steps.Began():
                self._model = step.model or self._model
                self._created = step.created or self._created
                return self._first()
            case steps.Text():
                self._logprobs += step.logprobs
                return self._said("content", step.delta, step.logprobs)
            case steps.Refusal():
                return self._said("refusal", step.delta)
            case steps.Reasoning():
                return self._said("reasoning_content", step.delta)
            case steps.CallBegan():
                return self._called(step)
            case steps.CallInput():
                return self._input(step.delta)
            case steps.Stopped():
                self._reason = step.reason
                return [self._chunk({}, finish=step.reason)]
            case steps.Used():
                self._usage = step.usage
                return [self._usage_chunk(step.usage)] if self._usage_asked else []
            case steps.Over():
                return [{}]
            case steps.Failed():
                return [openai_error(step)]
        return []

    def whole(self) -> Json:
        pieces_are_text = all(isinstance(piece, str) for pieces in self._said_so_far.values() for piece in pieces)
        if self._reason is None or not pieces_are_text:
            raise AnswerFailed(steps.malformed())
        said = {name: "".join(pieces) for name, pieces in self._said_so_far.items()}
        message = {
            "role": "assistant",
            "content": None,
            "refusal": None,
            **said,
            **({"tool_calls": self._calls} if self._calls else {}),
        }
        logprobs = {"content": self._logprobs, "refusal": None} if self._logprobs else None
        choice = {"index": 0, "message": message, "logprobs": logprobs, "finish_reason": self._reason.value}
        usage = self._usage.as_chat() if self._usage is not None else None
        return {**self._head("chat.completion"), "choices": [choice], **({"usage": usage} if usage else {})}

    def _first(self) -> list[Json]:
        if self._begun:
            return []
        self._begun = True
        return [self._chunk({"role": "assistant", "content": ""})]

    def _said(self, name: str, delta: str, logprobs: tuple[Json, ...] = ()) -> list[Json]:
        self._said_so_far.setdefault(name, []).append(delta)
        return [*self._first(), self._chunk({name: delta}, logprobs)]

    def _called(self, step: steps.CallBegan) -> list[Json]:
        origin = self._names.origin(step.name)
        kind, value = ("custom", "input") if step.custom else ("function", "arguments")
        call: Json = {"id": step.id, "type": kind, kind: {"name": origin.name, value: ""}}
        self._calls.append(call)
        delta = {"index": len(self._calls) - 1, **call, kind: dict(call[kind])}
        return [*self._first(), self._chunk({"tool_calls": [delta]})]

    def _input(self, text: str) -> list[Json]:
        call = self._calls[-1]
        kind, value = ("custom", "input") if call["type"] == "custom" else ("function", "arguments")
        call[kind][value] += text
        return [self._chunk({"tool_calls": [{"index": len(self._calls) - 1, kind: {value: text}}]})]

    def _head(self, kind: str) -> Json:
        return {"id": self._id, "object": kind, "created": self._created, "model": self._model}

    def _chunk(self, delta: Json, logprobs: tuple[Json, ...] = (), finish: Reason | None = None) -> Json:
        noted = {"content": list(logprobs), "refusal": None} if logprobs else None
        choice = {"index": 0, "delta": delta, "logprobs": noted, "finish_reason": finish.value if finish else None}
        return {**self._head("chat.completion.chunk"), "choices": [choice]}

    def _usage_chunk(self, usage: Usage) -> Json:
        return {**self._head("chat.completion.chunk"), "choices": [], "usage": usage.as_chat()}
