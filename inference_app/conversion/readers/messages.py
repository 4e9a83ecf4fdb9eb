"""Anthropic Messages as steps: events of a stream, and whole messages.

Blocks of the provider's own tools (searches, code) and citations have no words in other dialects and are passed
over; signatures of thinking are the provider's alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from inference_app.conversion.failures import provider_error
from inference_app.conversion.steps import (
    Began,
    CallBegan,
    CallEnded,
    CallInput,
    Json,
    Over,
    Reason,
    Reasoning,
    Step,
    Stopped,
    Text,
    Used,
    cut_off,
    malformed,
)
from inference_app.conversion.usage import usage_of_messages

_REASONS = {
    "max_tokens": Reason.LENGTH,
    "model_context_window_exceeded": Reason.LENGTH,
    "tool_use": Reason.TOOL_CALLS,
    "refusal": Reason.CONTENT_FILTER,
}
_DELTAS = {"text_delta": ("text", Text), "thinking_delta": ("thinking", Reasoning)}


class MessagesReader:
    """Reads one answer of `anthropic`."""

    def __init__(self) -> None:
        self._calls: dict[Any, bool] = {}
        self._usage: Json = {}
        self._over = False

    def read(self, event: Json) -> Iterator[Step]:
        """One event."""
        kind = event.get("type")
        if kind == "message_start":
            yield from self._begin(event["message"])
        elif kind == "content_block_start":
            yield from self._open(event["index"], event["content_block"])
        elif kind == "content_block_delta":
            yield from self._delta(event["index"], event["delta"])
        elif kind == "content_block_stop":
            yield from self._close(event["index"])
        elif kind == "message_delta":
            self._count(event.get("usage"))
            if event["delta"].get("stop_reason"):
                yield _stopped(event["delta"])
        elif kind == "message_stop":
            yield from self._end()
        elif kind == "error":
            yield provider_error(event.get("error"))

    def end(self) -> Iterator[Step]:
        if not self._over:
            yield cut_off()

    def answer(self, body: Json) -> Iterator[Step]:
        """A whole message."""
        if body.get("type") == "error":
            yield provider_error(body.get("error"))
            return
        if not isinstance(body.get("content"), list):
            yield malformed()
            return
        yield from self._begin(body)
        for index, block in enumerate(body["content"]):
            yield from self._open(index, block)
            yield from self._close(index)
        yield _stopped(body)
        yield from self._end()

    def _begin(self, message: Json) -> Iterator[Step]:
        self._count(message.get("usage"))
        yield Began(message.get("id"), message.get("model"))

    def _open(self, index: Any, block: Json) -> Iterator[Step]:
        kind = block.get("type")
        if kind == "text" and block.get("text"):
            yield Text(block["text"])
        elif kind == "thinking" and block.get("thinking"):
            yield Reasoning(block["thinking"])
        elif kind == "tool_use":
            self._calls[index] = bool(block.get("input"))
            yield CallBegan(str(block["id"]), str(block["name"]))
            if block.get("input"):
                yield CallInput(json.dumps(block["input"], ensure_ascii=False, separators=(",", ":")))

    def _delta(self, index: Any, delta: Json) -> Iterator[Step]:
        kind = delta.get("type")
        if kind == "input_json_delta" and index in self._calls:
            if delta.get("partial_json"):
                self._calls[index] = True
                yield CallInput(delta["partial_json"])
        elif kind in _DELTAS:
            name, step = _DELTAS[kind]
            if delta.get(name):
                yield step(delta[name])

    def _close(self, index: Any) -> Iterator[Step]:
        if index in self._calls:
            if not self._calls.pop(index):
                yield CallInput("{}")
            yield CallEnded()

    def _count(self, usage: Any) -> None:
        """Later counts are totals: they replace the earlier ones."""
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}

    def _end(self) -> Iterator[Step]:
        self._over = True
        if (usage := usage_of_messages(self._usage or None)) is not None:
            yield Used(usage)
        yield Over()


def _stopped(body: Json) -> Stopped:
    reason = _REASONS.get(body.get("stop_reason") or "", Reason.STOP)
    return Stopped(reason, body.get("stop_sequence"))
