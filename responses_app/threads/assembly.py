"""A streamed message as its events build it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inference_app.conversion.exact_json import parse_object

Json = dict[str, Any]

_TEXTS: Mapping[str, tuple[str, str]] = {
    "text_delta": ("text", "text"),
    "thinking_delta": ("thinking", "thinking"),
    "signature_delta": ("signature", "signature"),
    "compaction_delta": ("content", "content"),
}
"""The field of a delta with its text, and the field of the block that it adds to."""


class MessageAssembly:
    """The message of one stream. Events that do not belong to it are ignored."""

    def __init__(self) -> None:
        self._message: Json = {}
        self._blocks: dict[int, Json] = {}
        self._texts: dict[tuple[int, str], list[str]] = {}
        self._inputs: dict[int, list[str]] = {}

    def add(self, event: Mapping[str, Any]) -> None:
        """Takes one event."""
        kind, index = event.get("type"), event.get("index")
        if kind == "message_start" and isinstance(event.get("message"), dict):
            self._message = dict(event["message"])
        elif kind == "message_delta":
            self._end(event)
        elif not isinstance(index, int):
            return
        elif kind == "content_block_start" and isinstance(event.get("content_block"), dict):
            self._blocks[index] = dict(event["content_block"])
        elif kind == "content_block_delta" and index in self._blocks and isinstance(event.get("delta"), dict):
            self._add_delta(index, event["delta"])

    def message(self) -> Json:
        """Returns the message as a client has it."""
        for (index, field), pieces in self._texts.items():
            self._blocks[index][field] = "".join(pieces)
        for index, pieces in self._inputs.items():
            text = "".join(pieces)
            if text:
                self._blocks[index]["input"] = _input(text)
        return {**self._message, "content": [self._blocks[index] for index in sorted(self._blocks)]}

    def _add_delta(self, index: int, delta: Mapping[str, Any]) -> None:
        kind = str(delta.get("type"))
        block = self._blocks[index]
        if kind == "input_json_delta":
            self._inputs.setdefault(index, []).append(str(delta.get("partial_json") or ""))
        elif kind == "citations_delta":
            block["citations"] = [*(block.get("citations") or ()), delta.get("citation")]
        elif kind in _TEXTS and isinstance(piece := delta.get(_TEXTS[kind][0]), str):
            place = (index, _TEXTS[kind][1])
            self._texts.setdefault(place, [block.get(place[1]) or ""]).append(piece)
        if kind == "compaction_delta":
            block |= {name: delta[name] for name in ("encrypted_content",) if delta.get(name)}

    def _end(self, event: Mapping[str, Any]) -> None:
        self._message |= event.get("delta") or {}
        usage = {name: value for name, value in (event.get("usage") or {}).items() if value is not None}
        self._message["usage"] = {**(self._message.get("usage") or {}), **usage}
        if event.get("context_management") is not None:
            self._message["context_management"] = event["context_management"]


def _input(text: str) -> Json:
    """Returns a tool's input with its digits and escapes; one that is no object is kept for the tool to report."""
    value = parse_object(text)
    return {"invalid_json": text} if value is None else value
