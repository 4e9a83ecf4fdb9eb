"""Reader of Anthropic Messages: stream events and complete messages, to steps.

Blocks of the provider's hosted tools (searches, code) are skipped, because other dialects cannot express them. Deltas
belong to the block of their index, in whatever order the provider sends them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from inference_app.conversion.exact_json import ExactObject, object_text, parse_object
from inference_app.conversion.failures import provider_error
from inference_app.conversion.readers.item_order import ItemOrder
from inference_app.conversion.steps import (
    CallEnd,
    CallInput,
    CallStart,
    Citation,
    End,
    Finish,
    FinishReason,
    Json,
    PartStart,
    Reasoning,
    Seal,
    Start,
    Step,
    Text,
    UsageReport,
    cut_off_failure,
    malformed_failure,
    unreadable_failure,
)
from inference_app.conversion.usage import usage_of_messages

_PART_START = PartStart()
_REASONS = {
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.CONTENT_FILTER,
}


@dataclass(slots=True)
class _Block:
    """One open block: what it has so far. `whole` is true if its first piece is an object that was parsed already."""

    kind: str
    key: int
    length: int = 0
    pieces: list[str] = field(default_factory=list)
    signature: str = ""
    citations: list[Any] = field(default_factory=list)
    whole: bool = False


class MessagesReader:
    """Reader of one completion of the wire `anthropic`."""

    def __init__(self) -> None:
        self._order = ItemOrder()
        self._blocks: dict[Any, _Block] = {}
        self._usage: Json = {}
        self._stop: Json | None = None
        self._has_calls = False
        self._has_content = False
        self._lost = False
        self._ended = False

    def read(self, event: Json) -> Iterator[Step]:
        """Yields the steps of one event."""
        kind = event.get("type")
        if kind == "message_start":
            yield from self._start_message(event["message"])
        elif kind == "content_block_start":
            yield from self._start_block(event.get("index"), event["content_block"])
        elif kind == "content_block_delta":
            yield from self._read_delta(event.get("index"), event["delta"])
        elif kind == "content_block_stop":
            yield from self._end_block(event.get("index"))
        elif kind == "message_delta":
            self._add_usage(event.get("usage"))
            if event["delta"].get("stop_reason"):
                self._stop = event["delta"]
        elif kind == "message_stop":
            yield from self._end_message()
        elif kind == "error":
            yield provider_error(event.get("error"))

    def end(self) -> Iterator[Step]:
        if not self._ended:
            yield cut_off_failure()

    def read_body(self, body: Json) -> Iterator[Step]:
        """Yields the steps of a complete message."""
        if body.get("type") == "error":
            yield provider_error(body.get("error"))
            return
        if not isinstance(body.get("content"), list):
            yield malformed_failure()
            return
        yield from self._start_message(body)
        for index, block in enumerate(body["content"]):
            yield from self._start_block(index, block)
            yield from self._end_block(index)
        self._stop = body
        yield from self._end_message()

    def _start_message(self, message: Json) -> Iterator[Step]:
        self._add_usage(message.get("usage"))
        yield Start(message.get("id"), message.get("model"))

    def _start_block(self, index: Any, value: Json) -> Iterator[Step]:
        kind = value.get("type")
        if kind not in ("text", "thinking", "redacted_thinking", "tool_use"):
            self._lost = True
            return
        if index in self._blocks:
            yield from self._end_block(index)
        block = self._blocks[index] = _Block(kind, self._order.open())
        if kind == "text":
            yield from self._order.add(block.key, _PART_START)
            yield from self._add_text(block, value.get("text"))
            block.citations += value.get("citations") or ()
        elif kind == "thinking":
            yield from self._add_thinking(block, value.get("thinking"))
            block.signature = value.get("signature") or ""
        elif kind == "redacted_thinking":
            if value.get("data"):
                yield from self._order.add(block.key, Seal({"format": "anthropic", "data": value["data"]}, alone=True))
        else:
            self._has_calls = self._has_content = True
            yield from self._order.add(block.key, CallStart(str(value["id"]), str(value["name"])))
            if value.get("input"):
                block.whole = isinstance(value["input"], ExactObject)
                yield from self._add_input(block, object_text(value["input"]))

    def _read_delta(self, index: Any, delta: Json) -> Iterator[Step]:
        kind = delta.get("type")
        block = self._blocks.get(index)
        if block is None:
            return
        if kind == "text_delta":
            yield from self._add_text(block, delta.get("text"))
        elif kind == "thinking_delta":
            yield from self._add_thinking(block, delta.get("thinking"))
        elif kind == "signature_delta":
            block.signature += delta.get("signature") or ""
        elif kind == "citations_delta":
            block.citations.append(delta.get("citation"))
        elif kind == "input_json_delta":
            yield from self._add_input(block, delta.get("partial_json"))

    def _add_text(self, block: _Block, text: Any) -> Iterator[Step]:
        if text:
            self._has_content = True
            block.length += len(text)
            yield from self._order.add(block.key, Text(text))

    def _add_thinking(self, block: _Block, text: Any) -> Iterator[Step]:
        if text:
            self._has_content = True
            block.length += len(text)
            yield from self._order.add(block.key, Reasoning(text))

    def _add_input(self, block: _Block, text: Any) -> Iterator[Step]:
        if text:
            block.pieces.append(text)
            yield from self._order.add(block.key, CallInput(text))

    def _end_block(self, index: Any) -> Iterator[Step]:
        block = self._blocks.pop(index, None)
        if block is None:
            return
        if block.kind == "tool_use":
            if not block.pieces:
                yield from self._order.add(block.key, CallInput("{}"))
            yield from self._order.add(block.key, CallEnd(_is_complete(block)))
        elif block.signature:
            seal = {"format": "anthropic", "signature": block.signature}
            yield from self._order.add(block.key, Seal(seal, alone=not block.length))
        for citation in block.citations:
            if (cited := _citation(citation, block.length)) is not None:
                yield from self._order.add(block.key, cited)
        yield from self._order.close(block.key)

    def _add_usage(self, usage: Any) -> None:
        """Merges usage counts: the larger of each, because a later one may be partial."""
        for name, value in (usage if isinstance(usage, dict) else {}).items():
            known = self._usage.get(name)
            if isinstance(known, int) and isinstance(value, int):
                self._usage[name] = max(known, value)
            elif value is not None:
                self._usage[name] = value

    def _end_message(self) -> Iterator[Step]:
        self._ended = True
        for index in list(self._blocks):
            yield from self._end_block(index)
        yield from self._order.end()
        if self._lost and not self._has_content:
            yield unreadable_failure()
            return
        stop = self._stop or {}
        yield Finish(self._finish_reason(stop), stop.get("stop_sequence"))
        if (usage := usage_of_messages(self._usage or None)) is not None:
            yield UsageReport(usage)
        yield End()

    def _finish_reason(self, stop: Json) -> FinishReason:
        """Returns the reason by what was made: a call is a reason of its own."""
        made = FinishReason.TOOL_CALLS if self._has_calls else FinishReason.STOP
        return _REASONS.get(stop.get("stop_reason") or "", made)


def _is_complete(block: _Block) -> bool:
    pieces = block.pieces
    if not pieces or (block.whole and len(pieces) == 1):
        return True
    return parse_object("".join(pieces)) is not None


def _citation(citation: Any, length: int) -> Citation | None:
    """Returns the citation of a web page, which supports the whole block; None for one of a document."""
    if not isinstance(citation, dict):
        return None
    url = citation.get("url") or citation.get("source")
    if not isinstance(url, str) or not url.startswith(("http://", "https://")):
        return None
    cited = citation.get("cited_text")
    return Citation(url, str(citation.get("title") or ""), 0, length, cited if isinstance(cited, str) else None)
