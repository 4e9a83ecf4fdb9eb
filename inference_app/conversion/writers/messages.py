"""Writer of Anthropic Messages: steps to stream events and the complete message.

Blocks do not overlap and have one index each. Input tokens are known only at the end, so `message_start` reports zero
and `message_delta` the total, which clients use. A refusal is text followed by the stop reason `refusal`. No message
ends with thinking behind its text: Anthropic's do not, and Claude Code takes the last block for the result.
"""

from __future__ import annotations

from collections.abc import Callable

from inference_app.conversion import steps
from inference_app.conversion.call_ids import sign_call_id
from inference_app.conversion.error_objects import anthropic_error
from inference_app.conversion.exact_json import parse_object
from inference_app.conversion.failures import CompletionError
from inference_app.conversion.sealed_reasoning import seal_token
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
        self.whole = False
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
            "stop_details": None,
            "container": None,
            "usage": Usage().as_messages(),
        }
        self._blocks: list[Json] = self._message["content"]
        self._started = False
        self._open: Json | None = None
        self._pieces: list[str] = []
        self._refused = False
        self._held: list[Json] = []
        self._length = self._part = self._start = 0

    def write(self, step: Step) -> list[Json]:
        match step:
            case steps.Start():
                self._message["model"] = step.model or self._message["model"]
                return self._start_events()
            case steps.Text():
                return self._write_text(step.delta)
            case steps.PartStart():
                self._part = self._length
            case steps.Citation():
                return self._write_citation(step)
            case steps.Refusal():
                self._refused = True
                return self._write_text(step.delta)
            case steps.Reasoning():
                return self._write_delta("thinking", step.delta)
            case steps.Seal():
                return self._write_seal(step)
            case steps.CallStart():
                return self._start_call(step)
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
        held, self._held = self._held, []
        self._blocks[-1:-1] = held
        return self._message

    def _start_events(self) -> list[Json]:
        if self._started or self.whole:
            return []
        self._started = True
        return [{"type": "message_start", "message": {**self._message, "content": []}}, {"type": "ping"}]

    def _write_delta(self, kind: str, delta: str) -> list[Json]:
        events: list[Json] = []
        if self._open is None or self._open["type"] != kind:
            empty: Json = {"type": kind, kind: ""}
            # There may be no signature, but clients require the field.
            events = self._start_block(
                {**empty, "signature": ""} if kind == "thinking" else {**empty, "citations": None}
            )
        self._pieces.append(delta)
        return [*events, self._delta_event({"type": _DELTAS[kind], kind: delta})]

    def _write_text(self, delta: str) -> list[Json]:
        if not delta:
            return []
        at = self._length
        self._length += len(delta)
        events = self._write_delta("text", delta)
        if len(events) > 1:
            self._start = at
        return events

    def _write_citation(self, step: steps.Citation) -> list[Json]:
        """Returns the citation of a web page, of which other wires know the place in the text and not the page's."""
        events: list[Json] = []
        if self._open is None or self._open["type"] != "text":
            events = self._start_block({"type": "text", "text": "", "citations": None})
            self._start = self._length
        block = self._open
        assert block is not None
        begin, end = (max(0, self._part + place - self._start) for place in (step.start, step.end))
        cited = step.cited_text if step.cited_text is not None else "".join(self._pieces)[begin:end]
        page = {"type": "web_search_result_location", "url": step.url, "title": step.title, "cited_text": cited}
        citation = {**page, "encrypted_index": ""}
        block["citations"] = [*(block["citations"] or ()), citation]
        return [*events, self._delta_event({"type": "citations_delta", "citation": citation})]

    def _write_seal(self, step: steps.Seal) -> list[Json]:
        """Returns the events that end a thinking block with its signature; reasoning without text is redacted. Behind
        text it waits for the next block; if there is none, it comes before the text or, in a stream, is left out: no
        provider demands it back then."""
        token = seal_token(step.value)
        if step.alone or self._open is None or self._open["type"] != "thinking":
            redacted = {"type": "redacted_thinking", "data": token}
            if self._blocks and self._blocks[-1]["type"] == "text":
                self._held.append(redacted)
                return []
            return [*self._open_block(redacted), *self._end_block()]
        self._open["signature"] = token
        return [self._delta_event({"type": "signature_delta", "signature": token}), *self._end_block()]

    def _start_call(self, step: steps.CallStart) -> list[Json]:
        call_id = sign_call_id(step.id, step.signature) if step.signature else step.id
        name = self._names.origin(step.name).name
        call = {"type": "tool_use", "id": call_id, "name": name, "input": {}, "caller": {"type": "direct"}}
        return self._start_block(call)

    def _start_block(self, block: Json) -> list[Json]:
        events: list[Json] = []
        held, self._held = self._held, []
        for redacted in held:
            events += [*self._open_block(redacted), *self._end_block()]
        return [*events, *self._open_block(block)]

    def _open_block(self, block: Json) -> list[Json]:
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
        elif block["type"] != "redacted_thinking":
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
    """Returns a tool's input as an object, with its digits and escapes. Invalid input is kept under `invalid_json`, for
    the tool to report."""
    value = parse_object(text)
    return value if value is not None else {"invalid_json": text}
