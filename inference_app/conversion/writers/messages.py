"""Steps as Anthropic Messages: the events of a stream, and the whole message.

Blocks follow each other under one index each. The input's tokens are known only at the end: `message_start` says
zero, `message_delta` the total, which clients take over. A refusal is text that ends with the stop reason `refusal`.
"""

from __future__ import annotations

from collections.abc import Callable

from core_app import jsontext
from core_app.errors import BadRequest
from inference_app.conversion import steps
from inference_app.conversion.failures import AnswerFailed
from inference_app.conversion.names import ToolNames
from inference_app.conversion.refused import anthropic_error
from inference_app.conversion.steps import Json, Reason, Step
from inference_app.conversion.usage import Usage

_REASONS = {
    Reason.STOP: "end_turn",
    Reason.LENGTH: "max_tokens",
    Reason.TOOL_CALLS: "tool_use",
    Reason.CONTENT_FILTER: "refusal",
}
_DELTAS = {"text": "text_delta", "thinking": "thinking_delta"}


class MessagesWriter:
    """Writes one answer for a client of Anthropic Messages."""

    def __init__(self, request: Json, names: ToolNames, new_id: Callable[[str], str], now: Callable[[], float]) -> None:
        self._names = names
        stops = request.get("stop_sequences")
        self._stops: list[object] = stops if isinstance(stops, list) else []
        self._message: Json = {
            "id": new_id("msg"),
            "type": "message",
            "role": "assistant",
            "model": str(request.get("model") or ""),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": Usage().as_messages(),
        }
        self._blocks: list[Json] = self._message["content"]
        self._begun = False
        self._open: Json | None = None
        self._pieces: list[str] = []
        self._refused = False

    def write(self, step: Step) -> list[Json]:
        match step:
            case steps.Began():
                self._message["model"] = step.model or self._message["model"]
                return self._first()
            case steps.Text():
                return self._said("text", step.delta)
            case steps.Refusal():
                self._refused = True
                return self._said("text", step.delta)
            case steps.Reasoning():
                return self._said("thinking", step.delta)
            case steps.CallBegan():
                origin = self._names.origin(step.name)
                return self._begin({"type": "tool_use", "id": step.id, "name": origin.name, "input": {}})
            case steps.CallInput():
                self._pieces.append(step.delta)
                return [self._delta({"type": "input_json_delta", "partial_json": step.delta})]
            case steps.CallEnded():
                return self._close()
            case steps.Stopped():
                return self._stopped(step)
            case steps.Used():
                self._message["usage"] = step.usage.as_messages()
            case steps.Over():
                return self._over()
            case steps.Failed():
                return [*self._first(), anthropic_error(step)]
        return []

    def whole(self) -> Json:
        if self._message["stop_reason"] is None:
            raise AnswerFailed(steps.malformed())
        return self._message

    def _first(self) -> list[Json]:
        if self._begun:
            return []
        self._begun = True
        return [{"type": "message_start", "message": {**self._message, "content": []}}, {"type": "ping"}]

    def _said(self, kind: str, delta: str) -> list[Json]:
        events: list[Json] = []
        if self._open is None or self._open["type"] != kind:
            empty: Json = {"type": kind, kind: ""}
            # Nobody signed these thoughts; clients insist on the field.
            events = self._begin({**empty, "signature": ""} if kind == "thinking" else empty)
        self._pieces.append(delta)
        return [*events, self._delta({"type": _DELTAS[kind], kind: delta})]

    def _begin(self, block: Json) -> list[Json]:
        events = [*self._first(), *self._close()]
        self._open, self._pieces = block, []
        self._blocks.append(block)
        start = {"type": "content_block_start", "index": len(self._blocks) - 1, "content_block": dict(block)}
        return [*events, start]

    def _delta(self, delta: Json) -> Json:
        return {"type": "content_block_delta", "index": len(self._blocks) - 1, "delta": delta}

    def _close(self) -> list[Json]:
        block, self._open = self._open, None
        if block is None:
            return []
        written = "".join(self._pieces)
        if block["type"] == "tool_use":
            block["input"] = _parsed(written)
        else:
            block[block["type"]] = written
        return [{"type": "content_block_stop", "index": len(self._blocks) - 1}]

    def _stopped(self, step: steps.Stopped) -> list[Json]:
        refused = self._refused and step.reason is Reason.STOP
        self._message["stop_reason"] = "refusal" if refused else _REASONS[step.reason]
        if step.reason is Reason.STOP and step.sequence in self._stops:
            self._message |= {"stop_reason": "stop_sequence", "stop_sequence": step.sequence}
        return self._close()

    def _over(self) -> list[Json]:
        stop = {name: self._message[name] for name in ("stop_reason", "stop_sequence")}
        return [
            *self._first(),
            {"type": "message_delta", "delta": stop, "usage": self._message["usage"]},
            {"type": "message_stop"},
        ]


def _parsed(text: str) -> Json:
    """A tool's input as an object. What the model wrote wrongly is kept for the tool to complain about."""
    try:
        value = jsontext.decode_untrusted(text.encode("utf-8", "replace"))
    except BadRequest:
        return {"invalid_json": text}
    return value if isinstance(value, dict) else {"invalid_json": text}
