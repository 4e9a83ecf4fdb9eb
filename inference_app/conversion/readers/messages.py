"""Reader of Anthropic Messages: stream events and complete messages, to steps.

Blocks of the provider's hosted tools (searches, code) and citations are skipped, because other dialects cannot express
them. Signatures of thinking are skipped, because only the provider can use them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from inference_app.conversion.failures import provider_error
from inference_app.conversion.steps import (
    CallEnd,
    CallInput,
    CallStart,
    End,
    Finish,
    FinishReason,
    Json,
    Reasoning,
    Start,
    Step,
    Text,
    UsageReport,
    cut_off_failure,
    malformed_failure,
)
from inference_app.conversion.usage import usage_of_messages

_REASONS = {
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "tool_use": FinishReason.TOOL_CALLS,
    "refusal": FinishReason.CONTENT_FILTER,
}
_DELTAS = {"text_delta": ("text", Text), "thinking_delta": ("thinking", Reasoning)}


class MessagesReader:
    """Reader of one completion of the wire `anthropic`."""

    def __init__(self) -> None:
        self._calls: dict[Any, bool] = {}
        self._usage: Json = {}
        self._ended = False

    def read(self, event: Json) -> Iterator[Step]:
        """Yields the steps of one event."""
        kind = event.get("type")
        if kind == "message_start":
            yield from self._start_message(event["message"])
        elif kind == "content_block_start":
            yield from self._start_block(event["index"], event["content_block"])
        elif kind == "content_block_delta":
            yield from self._read_delta(event["index"], event["delta"])
        elif kind == "content_block_stop":
            yield from self._end_block(event["index"])
        elif kind == "message_delta":
            self._add_usage(event.get("usage"))
            if event["delta"].get("stop_reason"):
                yield _finish_step(event["delta"])
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
        yield _finish_step(body)
        yield from self._end_message()

    def _start_message(self, message: Json) -> Iterator[Step]:
        self._add_usage(message.get("usage"))
        yield Start(message.get("id"), message.get("model"))

    def _start_block(self, index: Any, block: Json) -> Iterator[Step]:
        kind = block.get("type")
        if kind == "text" and block.get("text"):
            yield Text(block["text"])
        elif kind == "thinking" and block.get("thinking"):
            yield Reasoning(block["thinking"])
        elif kind == "tool_use":
            self._calls[index] = bool(block.get("input"))
            yield CallStart(str(block["id"]), str(block["name"]))
            if block.get("input"):
                yield CallInput(json.dumps(block["input"], ensure_ascii=False, separators=(",", ":")))

    def _read_delta(self, index: Any, delta: Json) -> Iterator[Step]:
        kind = delta.get("type")
        if kind == "input_json_delta" and index in self._calls:
            if delta.get("partial_json"):
                self._calls[index] = True
                yield CallInput(delta["partial_json"])
        elif kind in _DELTAS:
            name, step = _DELTAS[kind]
            if delta.get(name):
                yield step(delta[name])

    def _end_block(self, index: Any) -> Iterator[Step]:
        if index in self._calls:
            if not self._calls.pop(index):
                yield CallInput("{}")
            yield CallEnd()

    def _add_usage(self, usage: Any) -> None:
        """Merges usage counts. Later counts are totals, so they replace earlier ones."""
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}

    def _end_message(self) -> Iterator[Step]:
        self._ended = True
        if (usage := usage_of_messages(self._usage or None)) is not None:
            yield UsageReport(usage)
        yield End()


def _finish_step(body: Json) -> Finish:
    reason = _REASONS.get(body.get("stop_reason") or "", FinishReason.STOP)
    return Finish(reason, body.get("stop_sequence"))
