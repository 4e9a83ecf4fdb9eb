"""Writer of Anthropic Messages: steps to stream events and the complete message.

Blocks do not overlap and have one index each. Input tokens are known only at the end, so `message_start` reports zero
and `message_delta` the total, which clients use. A refusal is text followed by the stop reason `refusal`.
"""

from __future__ import annotations

from collections.abc import Callable

from core_app import jsontext
from core_app.errors import BadRequest
from inference_app.conversion import steps
from inference_app.conversion.error_objects import anthropic_error
from inference_app.conversion.failures import CompletionError
from inference_app.conversion.steps import FinishReason, Json, Step
from inference_app.conversion.tool_names import ToolNames
from inference_app.conversion.usage import Usage

_REASONS = {
    FinishReason.STOP: "end_turn",
    FinishReason.LENGTH: "max_tokens",
    FinishReason.TOOL_CALLS: "tool_use",
    FinishReason.CONTENT_FILTER: "refusal",
}
_DELTAS = {"text": "text_delta", "thinking": "thinking_delta"}


class MessagesWriter:
    """Writer of one completion for an Anthropic Messages client."""

    def __init__(self, request: Json, names: ToolNames, new_id: Callable[[str], str], now: Callable[[], float]) -> None:
        self._names = names
        stops = request.get("stop_sequences")
        self._stop_sequences: list[object] = stops if isinstance(stops, list) else []
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
        self._started = False
        self._open: Json | None = None
        self._pieces: list[str] = []
        self._refused = False

    def write(self, step: Step) -> list[Json]:
        match step:
            case steps.Start():
                self._message["model"] = step.model or self._message["model"]
                return self._start_events()
            case steps.Text():
                return self._write_delta("text", step.delta)
            case steps.Refusal():
                self._refused = True
                return self._write_delta("text", step.delta)
            case steps.Reasoning():
                return self._write_delta("thinking", step.delta)
            case steps.CallStart():
                origin = self._names.origin(step.name)
                return self._start_block({"type": "tool_use", "id": step.id, "name": origin.name, "input": {}})
            case steps.CallInput():
                self._pieces.append(step.delta)
                return [self._delta_event({"type": "input_json_delta", "partial_json": step.delta})]
            case steps.CallEnd():
                return self._end_block()
            case steps.Finish():
                return self._write_finish(step)
            case steps.UsageReport():
                self._message["usage"] = step.usage.as_messages()
            case steps.End():
                return self._end_events()
            case steps.Failure():
                return [*self._start_events(), anthropic_error(step)]
        return []

    def final_body(self) -> Json:
        if self._message["stop_reason"] is None:
            raise CompletionError(steps.malformed_failure())
        return self._message

    def _start_events(self) -> list[Json]:
        if self._started:
            return []
        self._started = True
        return [{"type": "message_start", "message": {**self._message, "content": []}}, {"type": "ping"}]

    def _write_delta(self, kind: str, delta: str) -> list[Json]:
        events: list[Json] = []
        if self._open is None or self._open["type"] != kind:
            empty: Json = {"type": kind, kind: ""}
            # There is no signature, but clients require the field.
            events = self._start_block({**empty, "signature": ""} if kind == "thinking" else empty)
        self._pieces.append(delta)
        return [*events, self._delta_event({"type": _DELTAS[kind], kind: delta})]

    def _start_block(self, block: Json) -> list[Json]:
        events = [*self._start_events(), *self._end_block()]
        self._open, self._pieces = block, []
        self._blocks.append(block)
        start = {"type": "content_block_start", "index": len(self._blocks) - 1, "content_block": dict(block)}
        return [*events, start]

    def _delta_event(self, delta: Json) -> Json:
        return {"type": "content_block_delta", "index": len(self._blocks) - 1, "delta": delta}

    def _end_block(self) -> list[Json]:
        block, self._open = self._open, None
        if block is None:
            return []
        written = "".join(self._pieces)
        if block["type"] == "tool_use":
            block["input"] = _parse_input(written)
        else:
            block[block["type"]] = written
        return [{"type": "content_block_stop", "index": len(self._blocks) - 1}]

    def _write_finish(self, step: steps.Finish) -> list[Json]:
        refused = self._refused and step.reason is FinishReason.STOP
        self._message["stop_reason"] = "refusal" if refused else _REASONS[step.reason]
        if step.reason is FinishReason.STOP and step.sequence in self._stop_sequences:
            self._message |= {"stop_reason": "stop_sequence", "stop_sequence": step.sequence}
        return self._end_block()

    def _end_events(self) -> list[Json]:
        stop = {name: self._message[name] for name in ("stop_reason", "stop_sequence")}
        return [
            *self._start_events(),
            {"type": "message_delta", "delta": stop, "usage": self._message["usage"]},
            {"type": "message_stop"},
        ]


def _parse_input(text: str) -> Json:
    """Returns a tool's input as an object. Invalid input is kept under `invalid_json`, for the tool to report."""
    try:
        value = jsontext.decode_untrusted(text.encode("utf-8", "replace"))
    except BadRequest:
        return {"invalid_json": text}
    return value if isinstance(value, dict) else {"invalid_json": text}
