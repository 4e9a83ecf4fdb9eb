"""Live events as one follower sees them: the frames of a tenant's mesh stream that its filters let through.

A frame is made once per process, with what filters compare; each follower compares two texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from agents_app.events import MessageDelta
from core_app import clock, database, jsontext
from edge_app.sse.consumer import EventView
from edge_app.sse.frames import data_frame
from events_app.batches import Encoder, StoredEvent
from events_app.generations import Position
from events_app.positions import Dropped
from faces.mesh.events import Broadcast
from faces.mesh.sources import SOURCES
from faces.mesh.wire import milliseconds
from sessions_app.events import RunRetried

_PROGRESS = frozenset({MessageDelta.type, RunRetried.type})
"""Events of sessions that are shown; their others are the session's own affair."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A frame with the task and the space that it is about. `everyone`: it passes all filters."""

    frame: bytes
    task_id: str | None
    space_id: str | None
    everyone: bool = False


def _show(event: StoredEvent) -> Shown | None:
    if event.source is not None:
        return _progress(event, event.source)
    data = jsontext.decode(event.data)
    return Shown(
        data_frame(event.data, event.position),
        data.get("task_id"),
        data.get("space_id"),
        everyone=event.type == Broadcast.type,
    )


def _progress(event: StoredEvent, stream_id: int) -> Shown | None:
    source = SOURCES.get(stream_id)
    if source is None or event.type not in _PROGRESS:
        return None
    data = jsontext.decode(event.data)
    at = data.get("at")
    shown: dict[str, Any] = {
        "type": "task.progress",
        "task_id": source.task_id,
        "agent_id": source.agent_id,
        "delta": data.get("delta", ""),
        "timestamp": milliseconds(datetime.fromisoformat(at)) if at else now_ms(),
    }
    if event.type == RunRetried.type:
        # The attempt before was cut off: its text so far is void.
        shown["reset"] = True
    return Shown(data_frame(jsontext.encode(shown), event.position), source.task_id, source.space_id)


SHOWN: Encoder[Shown | None] = Encoder(_show)
"""The frame of an event, the same for every follower of the stream."""


class LiveView(EventView):
    """The events of a tenant, or those of one task, of one space, or of both. `first` are the frames before them."""

    def __init__(self, first: Sequence[Mapping[str, Any]], *, task_id: str | None, space_id: str | None) -> None:
        self._first = b"".join(data_frame(jsontext.encode(dict(frame))) for frame in first)
        self._task_id = task_id
        self._space_id = space_id

    def opening(self) -> bytes:
        """Returns `connected`, `task_status` and `welcome`."""
        first, self._first = self._first, b""
        return first

    async def prepare(self, events: Sequence[StoredEvent]) -> None:
        """Loads the tasks of sessions whose first deltas these are."""
        sources = {event.source for event in events if event.source is not None and event.type in _PROGRESS}
        if sources and (unknown := SOURCES.unknown(sources)):
            await database.run(SOURCES.load, unknown)

    def frame(self, event: StoredEvent) -> bytes:
        """Returns the frame of an event that the filters let through."""
        shown = event.encode(SHOWN)
        if shown is None:
            return b""
        if shown.everyone:
            return shown.frame
        if self._task_id is not None and shown.task_id != self._task_id:
            return b""
        if self._space_id is not None and shown.space_id != self._space_id:
            return b""
        return shown.frame

    @property
    def heartbeat_seconds(self) -> float:
        """The protocol's own pause."""
        seconds: float = settings.GATEWAY_MESH_HEARTBEAT_SECONDS
        return seconds

    def heartbeat(self, position: Position, *, behind: bool) -> bytes:
        """Returns a heartbeat that `onmessage` sees."""
        return data_frame(jsontext.encode({"type": "heartbeat", "timestamp": now_ms()}), position)

    def render_dropped(self, after: Position, dropped: Dropped) -> bytes:
        """Returns the event that tells of removed ones."""
        shown = {"type": "events_dropped", **dropped, "timestamp": now_ms()}
        return data_frame(jsontext.encode(shown), after)


def now_ms() -> int:
    """Returns the current moment as the protocol writes it."""
    return milliseconds(clock.now())
