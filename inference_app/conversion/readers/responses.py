"""Reader of the Responses API: stream events and complete responses, to steps.

Every event belongs to the item that it names, in whatever order the provider sends them, and what comes whole in a
`done` event or in the completed response counts as far as no delta had it before. Items of hosted tools are skipped,
because other dialects cannot express them.
"""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any

from inference_app.conversion.failures import provider_error
from inference_app.conversion.readers.item_order import ItemOrder
from inference_app.conversion.steps import (
    CallEnd,
    CallInput,
    CallStart,
    Citation,
    End,
    Failure,
    Finish,
    FinishReason,
    Json,
    PartStart,
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
from inference_app.conversion.usage import usage_of_responses

_CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
_THOUGHTS = {
    "response.reasoning_summary_text.delta": ("summary", "delta"),
    "response.reasoning_summary_text.done": ("summary", "text"),
    "response.reasoning_text.delta": ("content", "delta"),
    "response.reasoning_text.done": ("content", "text"),
}
_INPUTS = {
    "response.function_call_arguments.delta": "delta",
    "response.function_call_arguments.done": "arguments",
    "response.custom_tool_call_input.delta": "delta",
    "response.custom_tool_call_input.done": "input",
}
_PARTS = {
    "response.output_text.delta": ("output_text", "delta"),
    "response.output_text.done": ("output_text", "text"),
    "response.refusal.delta": ("refusal", "delta"),
    "response.refusal.done": ("refusal", "refusal"),
}
_ENDS = frozenset({"response.completed", "response.incomplete"})
_KINDS = frozenset({"message", "reasoning", *_CALLS})


@dataclass(slots=True)
class _Part:
    """The text of one part so far, and the number of its citations."""

    kind: str
    pieces: list[str] = field(default_factory=list)
    citations: int = 0
    has_logprobs: bool = False

    def rest_of(self, whole: str) -> str:
        """Returns the end of the whole text that no delta had."""
        seen = "".join(self.pieces)
        self.pieces = [seen]
        return whole[len(seen) :] if whole.startswith(seen) else ""


@dataclass(slots=True)
class _Item:
    """One item: its key in the order, and its parts by their index."""

    key: int
    kind: str
    parts: dict[tuple[str, Hashable], _Part] = field(default_factory=dict)
    started: bool = False
    done: bool = False


class ResponsesReader:
    """Reader of one completion of the wire `openai-responses`."""

    def __init__(self) -> None:
        self._started = False
        self._order = ItemOrder()
        self._items: dict[Hashable, _Item] = {}
        self._early: dict[Hashable, list[str]] = {}
        self._has_calls = False
        self._has_content = False
        self._lost = False
        self._ended = False

    def read(self, event: Json) -> Iterator[Step]:
        """Yields the steps of one event."""
        kind = event.get("type")
        if not self._started and isinstance(event.get("response"), dict):
            yield from self._start_response(event["response"])
        if kind in _PARTS:
            yield from self._read_part(event, *_PARTS[kind])
        elif kind in _THOUGHTS:
            yield from self._read_thought(event, *_THOUGHTS[kind])
        elif kind in _INPUTS:
            yield from self._read_input(event, _INPUTS[kind])
        elif kind == "response.output_text.annotation.added":
            item = self._open_item(event, "message")
            yield from self._cite(item, event.get("content_index"), event.get("annotation"))
        elif kind == "response.output_item.added":
            yield from self._add_item(_key(event), event["item"])
        elif kind == "response.output_item.done":
            yield from self._end_item(_key(event), event["item"])
        elif kind in _ENDS:
            yield from self._end_response(event["response"])
        elif kind in ("response.failed", "error"):
            yield _failure_of(event)

    def end(self) -> Iterator[Step]:
        if not self._ended:
            yield cut_off_failure()

    def read_body(self, body: Json) -> Iterator[Step]:
        """Yields the steps of a complete response."""
        if body.get("error") or body.get("status") == "failed":
            yield provider_error(body.get("error"))
            return
        if not isinstance(body.get("output"), list):
            yield malformed_failure()
            return
        yield from self._start_response(body)
        yield from self._end_response(body)

    def _start_response(self, response: Json) -> Iterator[Step]:
        self._started = True
        created = response.get("created_at")
        known = int(created) if isinstance(created, int | float) else None
        yield Start(response.get("id"), response.get("model"), known)

    def _add_item(self, key: Hashable, value: Json) -> Iterator[Step]:
        """Opens an item; a call starts at once, if its name is known."""
        kind = value.get("type")
        if kind not in _KINDS:
            self._lost = True
            return
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item(self._order.open(), kind)
        if kind in _CALLS and not item.started and value.get("name"):
            yield from self._start_call(item, value)
            for piece in self._early.pop(key, ()):
                yield from self._add_input(item, piece)

    def _open_item(self, event: Json, kind: str) -> _Item:
        """Returns the item of an event, which a provider may not have announced."""
        key = _key(event)
        item = self._items.get(key)
        if item is None:
            item = self._items[key] = _Item(self._order.open(), kind)
        return item

    def _start_call(self, item: _Item, value: Json) -> Iterator[Step]:
        self._has_calls = self._has_content = item.started = True
        custom = value["type"] == "custom_tool_call"
        yield from self._order.add(item.key, CallStart(value["call_id"], value["name"], custom))

    def _read_input(self, event: Json, name: str) -> Iterator[Step]:
        key, text = _key(event), event.get(name) or ""
        item = self._items.get(key)
        if item is not None and item.started:
            if name != "delta":
                text = _part(item, 0, "input").rest_of(text)
            yield from self._add_input(item, text)
        elif name == "delta":
            self._early.setdefault(key, []).append(text)

    def _add_input(self, item: _Item, text: str) -> Iterator[Step]:
        if text and not item.done:
            _part(item, 0, "input").pieces.append(text)
            yield from self._order.add(item.key, CallInput(text))

    def _read_part(self, event: Json, kind: str, name: str) -> Iterator[Step]:
        item = self._open_item(event, "message")
        index, text = event.get("content_index"), event.get(name) or ""
        noted = tuple(event.get("logprobs") or ())
        if name != "delta":
            part = yield from self._open_part(item, index, kind)
            text, noted = part.rest_of(text), () if part.has_logprobs else noted
        yield from self._add_text(item, index, kind, text, noted)

    def _open_part(self, item: _Item, index: Hashable, kind: str) -> Generator[Step, None, _Part]:
        part = item.parts.get((kind, index))
        if part is None:
            part = item.parts[(kind, index)] = _Part(kind)
            if kind == "output_text" and not item.done:
                yield from self._order.add(item.key, PartStart())
        return part

    def _add_text(self, item: _Item, index: Hashable, kind: str, text: str, noted: tuple[Json, ...]) -> Iterator[Step]:
        if item.done or not (text or noted):
            return
        self._has_content = True
        part = yield from self._open_part(item, index, kind)
        part.pieces.append(text)
        part.has_logprobs = part.has_logprobs or bool(noted)
        yield from self._order.add(item.key, Refusal(text) if kind == "refusal" else Text(text, noted))

    def _read_thought(self, event: Json, kind: str, name: str) -> Iterator[Step]:
        item = self._open_item(event, "reasoning")
        index = event.get("summary_index" if kind == "summary" else "content_index")
        text = event.get(name) or ""
        if name != "delta":
            text = _part(item, index, kind).rest_of(text)
        yield from self._add_thought(item, index, kind, text)

    def _add_thought(self, item: _Item, index: Hashable, kind: str, text: str) -> Iterator[Step]:
        if item.done or not text:
            return
        self._has_content = True
        part = _part(item, index, kind)
        if not part.pieces and any(other.pieces for other in item.parts.values()):
            yield from self._order.add(item.key, Reasoning("\n\n"))
        part.pieces.append(text)
        yield from self._order.add(item.key, Reasoning(text))

    def _end_item(self, key: Hashable, value: Json) -> Iterator[Step]:
        """Reads what no delta had, and closes the item."""
        yield from self._add_item(key, value)
        item = self._items.get(key)
        if item is None or item.done:
            return
        if value["type"] in _CALLS:
            yield from self._end_call(item, value)
        elif value["type"] == "reasoning":
            yield from self._end_reasoning(item, value)
        else:
            yield from self._end_message(item, value)
        item.done = True
        yield from self._order.close(item.key)

    def _end_call(self, item: _Item, value: Json) -> Iterator[Step]:
        if not item.started:
            yield from self._start_call(item, value)
        yield from self._add_input(item, _part(item, 0, "input").rest_of(value.get(_CALLS[value["type"]]) or ""))
        if value["type"] == "function_call" and not any(_part(item, 0, "input").pieces):
            yield from self._add_input(item, "{}")
        yield from self._order.add(item.key, CallEnd(value.get("status") != "incomplete"))

    def _end_reasoning(self, item: _Item, value: Json) -> Iterator[Step]:
        # A summary stands for the content if both are there.
        kind = "summary" if value.get("summary") else "content"
        if any(name == kind for name, _ in item.parts) or not any(part.pieces for part in item.parts.values()):
            for index, part in enumerate(value.get(kind) or ()):
                yield from self._add_thought(item, index, kind, _part(item, index, kind).rest_of(part["text"]))
        if value.get("encrypted_content"):
            seal = {"format": "openai", "id": value.get("id"), "encrypted_content": value["encrypted_content"]}
            said = any(any(part.pieces) for part in item.parts.values())
            yield from self._order.add(item.key, Seal(seal, alone=not said))

    def _end_message(self, item: _Item, value: Json) -> Iterator[Step]:
        for index, whole in enumerate(value.get("content") or ()):
            kind, name = whole.get("type"), "refusal" if whole.get("type") == "refusal" else "text"
            if kind not in ("output_text", "refusal"):
                self._lost = True
                continue
            part = yield from self._open_part(item, index, kind)
            noted = () if part.has_logprobs else tuple(whole.get("logprobs") or ())
            yield from self._add_text(item, index, kind, part.rest_of(whole.get(name) or ""), noted)
            for annotation in (whole.get("annotations") or ())[part.citations :]:
                yield from self._cite(item, index, annotation)

    def _cite(self, item: _Item, index: Hashable, annotation: Any) -> Iterator[Step]:
        part = yield from self._open_part(item, index, "output_text")
        part.citations += 1
        if not item.done and isinstance(annotation, dict) and annotation.get("type") == "url_citation":
            start, end = annotation.get("start_index") or 0, annotation.get("end_index") or 0
            cited = Citation(str(annotation["url"]), str(annotation.get("title") or ""), int(start), int(end))
            yield from self._order.add(item.key, cited)

    def _end_response(self, response: Json) -> Iterator[Step]:
        self._ended = True
        for index, value in enumerate(response.get("output") or ()):
            key = index if index in self._items or value.get("id") not in self._items else value["id"]
            yield from self._end_item(key, value)
        for item in self._items.values():
            if item.started and not item.done:
                yield from self._order.add(item.key, CallEnd(False))
        yield from self._order.end()
        if self._lost and not self._has_content:
            yield unreadable_failure()
            return
        yield Finish(self._finish_reason(response))
        if (usage := usage_of_responses(response.get("usage"))) is not None:
            yield UsageReport(usage)
        yield End()

    def _finish_reason(self, response: Json) -> FinishReason:
        if response.get("status") == "incomplete":
            why = (response.get("incomplete_details") or {}).get("reason")
            return FinishReason.CONTENT_FILTER if why == "content_filter" else FinishReason.LENGTH
        return FinishReason.TOOL_CALLS if self._has_calls else FinishReason.STOP


def _key(event: Json) -> Hashable:
    """Returns the key of an event's item: its index, else its id."""
    index = event.get("output_index")
    if index is not None:
        return index  # type: ignore[no-any-return]
    item = event.get("item")
    key: Hashable = event.get("item_id") or (item.get("id") if isinstance(item, dict) else None)
    return key


def _part(item: _Item, index: Hashable, kind: str) -> _Part:
    part = item.parts.get((kind, index))
    if part is None:
        part = item.parts[(kind, index)] = _Part(kind)
    return part


def _failure_of(event: Json) -> Failure:
    response = event.get("response")
    return provider_error(response.get("error") if isinstance(response, dict) else event)
