"""The output of a response as its events build it: what a client that read them so far has.

It is needed where a response ends without its provider's last event: at a cancellation, at a failure, and where an
attempt is cut off and starts again. `close` says so in the API's own terms: open items end as `incomplete`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tools_app.types import UNKNOWN_EFFECT

Json = dict[str, Any]

_DELTAS: Mapping[str, tuple[str, str | None, str]] = {
    "response.output_text.delta": ("content", "content_index", "text"),
    "response.refusal.delta": ("content", "content_index", "refusal"),
    "response.reasoning_text.delta": ("content", "content_index", "text"),
    "response.reasoning_summary_text.delta": ("summary", "summary_index", "text"),
    "response.function_call_arguments.delta": ("", None, "arguments"),
    "response.custom_tool_call_input.delta": ("", None, "input"),
    "response.mcp_call_arguments.delta": ("", None, "arguments"),
}
"""The list of parts, the field with the part's index, and the text that a delta adds to."""

_PARTS: Mapping[str, tuple[str, str]] = {
    "response.content_part.added": ("content", "content_index"),
    "response.content_part.done": ("content", "content_index"),
    "response.reasoning_summary_part.added": ("summary", "summary_index"),
    "response.reasoning_summary_part.done": ("summary", "summary_index"),
}
_PART_DONE: Mapping[str, tuple[str, str]] = {
    "output_text": ("response.output_text.done", "response.content_part.done"),
    "refusal": ("response.refusal.done", "response.content_part.done"),
    "reasoning_text": ("response.reasoning_text.done", "response.content_part.done"),
    "summary_text": ("response.reasoning_summary_text.done", "response.reasoning_summary_part.done"),
}
_CALL_DONE: Mapping[str, tuple[str, str]] = {
    "function_call": ("response.function_call_arguments.done", "arguments"),
    "custom_tool_call": ("response.custom_tool_call_input.done", "input"),
    "mcp_call": ("response.mcp_call_arguments.done", "arguments"),
}


_UNKNOWN: Json = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": UNKNOWN_EFFECT}]}
"""The error of a call that was cut off: it is not made again."""


class Assembly:
    """The items of one response by their indexes, and which of them are open."""

    def __init__(self) -> None:
        self._items: dict[int, Json] = {}
        self._open: dict[int, set[tuple[str, int]]] = {}
        self._texts: dict[tuple[int, str, int, str], list[str]] = {}
        self._called: set[int] = set()

    @property
    def size(self) -> int:
        """The number of items so far, which is the index of the next one."""
        return max(self._items, default=-1) + 1

    def add(self, event: Mapping[str, Any]) -> None:
        """Takes one event; those that do not change the output are ignored."""
        kind, index = event.get("type"), event.get("output_index")
        if not isinstance(kind, str) or not isinstance(index, int):
            return
        if kind in ("response.output_item.added", "response.output_item.done"):
            self._put(index, event.get("item"), is_open=kind.endswith("added"))
        elif kind == "response.mcp_call_arguments.done" and index in self._items:
            # From now on the call may have been made.
            self._called.add(index)
            self._items[index]["arguments"] = event.get("arguments", "")
            self._forget(index)
        elif kind in _PARTS:
            self._put_part(index, event, *_PARTS[kind], is_open=kind.endswith("added"))
        elif kind in _DELTAS and isinstance(delta := event.get("delta"), str):
            place, number, text = _DELTAS[kind]
            part = event.get(number, 0) if number is not None else -1
            if isinstance(part, int):
                self._texts.setdefault((index, place, part, text), []).append(delta)

    def output(self) -> list[Json]:
        """Returns the items, with the texts that they have so far."""
        for index, place, part, text in list(self._texts):
            self._write(index, place, part, text)
        return [self._items[index] for index in sorted(self._items)]

    def close(self) -> list[Json]:
        """Ends the open items as `incomplete` and returns the events that say so."""
        self.output()
        events: list[Json] = []
        for index in sorted(self._open):
            events += self._close_item(index, self._items[index])
        self._open.clear()
        return events

    def _put(self, index: int, item: Any, *, is_open: bool) -> None:
        if not isinstance(item, dict):
            return
        self._items[index] = {**item, **{name: list(item[name]) for name in ("content", "summary") if item.get(name)}}
        if is_open:
            self._open[index] = set()
        else:
            self._open.pop(index, None)
            self._forget(index)

    def _put_part(self, index: int, event: Mapping[str, Any], place: str, number: str, *, is_open: bool) -> None:
        item, part, at = self._items.get(index), event.get("part"), event.get(number, 0)
        if (
            item is None
            or not isinstance(part, dict)
            or not isinstance(at, int)
            or not 0 <= at <= len(item.get(place) or ())
        ):
            return
        parts = item.setdefault(place, [])
        parts[at : at + 1] = [dict(part)]
        if is_open:
            self._open.setdefault(index, set()).add((place, at))
        else:
            self._open.get(index, set()).discard((place, at))
            self._forget(index, place, at)

    def _forget(self, index: int, place: str | None = None, at: int | None = None) -> None:
        """Drops texts of what is complete, whose last event had them whole."""
        for key in [key for key in self._texts if key[0] == index and (place is None or key[1:3] == (place, at))]:
            del self._texts[key]

    def _write(self, index: int, place: str, part: int, text: str) -> None:
        pieces, item = self._texts[index, place, part, text], self._items.get(index)
        pieces[:] = ["".join(pieces)]
        if item is None:
            return
        if not place:
            item[text] = pieces[0]
        elif part < len(parts := item.get(place) or ()):
            parts[part][text] = pieces[0]

    def _close_item(self, index: int, item: Json) -> list[Json]:
        about = {"item_id": item.get("id", ""), "output_index": index}
        if index in self._called:
            item |= {"status": "failed", "error": _UNKNOWN}
            failed: Json = {"type": "response.mcp_call.failed", **about}
            return [failed, {"type": "response.output_item.done", "output_index": index, "item": item}]
        events: list[Json] = []
        for place, at in sorted(self._open[index]):
            events += _part_events(about, place, at, item[place][at])
        if (done := _CALL_DONE.get(str(item.get("type")))) is not None:
            named = {"name": item.get("name", "")} if done[1] == "arguments" else {}
            events.append({"type": done[0], **about, **named, done[1]: item.get(done[1], "")})
        item["status"] = "incomplete"
        self._forget(index)
        return [*events, {"type": "response.output_item.done", "output_index": index, "item": item}]


def _part_events(about: Json, place: str, at: int, part: Json) -> list[Json]:
    if (done := _PART_DONE.get(str(part.get("type")))) is None:
        return []
    number = {"summary_index" if place == "summary" else "content_index": at}
    text = "refusal" if part["type"] == "refusal" else "text"
    more = {"logprobs": part.get("logprobs") or []} if part["type"] == "output_text" else {}
    return [
        {"type": done[0], **about, **number, text: part.get(text, ""), **more},
        {"type": done[1], **about, **number, "part": part},
    ]
