"""Deltas of one text that came next to each other, as one.

The gateway joins what a model says while the commit before it is under way: how many deltas carry a text is decided by
time. All else about them is not: each has to be of exactly the same shape, and offsets are counted as if it were one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from tests.contract.recording.normalising import normalised

TYPES = ("message_delta", "thinking_delta")
_DELTA = re.compile(r'(?P<before>\{(?:"messageId":"[^"]*",)?"delta":")(?P<text>(?:[^"\\]|\\.)*)(?P<after>".*\})', re.S)
_BARE = re.compile(r"^id: (\d+)$", re.M)
_BLOCK = re.compile(r"id: (?P<id>\d+)\nevent: (?P<event>[a-z_]+)\ndata: (?P<data>[^\n]*)\n\n")


@dataclass(frozen=True)
class Event:
    """An event as a row or a frame has it; `rest` is what the row says besides."""

    offset: int
    type: str
    data: str | None
    rest: str = ""


def joined(events: Iterable[Event]) -> list[Event]:
    """The same events with one delta where several stood next to each other."""
    found: list[Event] = []
    fewer = 0
    for event in events:
        text = _together(found[-1], event) if found else None
        if text is not None:
            found[-1] = replace(found[-1], data=text)
            fewer += 1
        else:
            found.append(replace(event, offset=event.offset - fewer))
    return found


def joined_blocks(blocks: Iterable[bytes]) -> bytes:
    """The blocks of an event stream likewise; one that is no event of the usual shape is left as it is."""
    found: list[str] = []
    run: list[Event] = []
    fewer = 0
    for block in [block.decode("utf-8", "surrogateescape") for block in blocks]:
        match = _BLOCK.fullmatch(block)
        if match is None:
            fewer += _written(run, found, fewer)
            found.append(_BARE.sub(lambda bare, less=fewer: f"id: {int(bare[1]) - less}", block))  # type: ignore[misc]
        else:
            run.append(Event(int(match["id"]), match["event"], match["data"]))
    _written(run, found, fewer)
    return "".join(found).encode("utf-8", "surrogateescape")


def _written(run: list[Event], found: list[str], fewer: int) -> int:
    """Empties a run of events into `found`; how many were joined."""
    events = joined(run)
    found += [f"id: {event.offset - fewer}\nevent: {event.type}\ndata: {event.data}\n\n" for event in events]
    less = len(run) - len(events)
    run.clear()
    return less


def _together(one: Event, two: Event) -> str | None:
    """The data of both, when they are deltas of one text that differ in nothing but the text and the time."""
    if one.type not in TYPES or (one.type, one.rest) != (two.type, two.rest) or not one.data or not two.data:
        return None
    first, second = _DELTA.fullmatch(one.data), _DELTA.fullmatch(two.data)
    if first is None or second is None or first["before"] != second["before"]:
        return None
    if normalised(first["after"]) != normalised(second["after"]):
        return None
    return first["before"] + first["text"] + second["text"] + first["after"]
