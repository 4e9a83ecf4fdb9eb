"""The bytes of text/event-stream: the only module that writes frames of the gateway's own streams.

docs/protocol-native.md, "Following over SSE", says what clients see. Streams that are relayed from providers are passed
on as they come and are not made here.
"""

from __future__ import annotations

import random

from core_app import jsontext
from events_app.batches import Encoder, StoredEvent
from events_app.generations import Position
from events_app.positions import Dropped

HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def event_frame(event: StoredEvent, data: bytes) -> bytes:
    """Returns an event's frame with `data` in place of the event's own."""
    return b"id: %b\nevent: %b\ndata: %b\n\n" % (_id(event.position), event.type.encode(), data)


def _own_frame(event: StoredEvent) -> bytes:
    return event_frame(event, event.data)


EVENT_FRAME: Encoder[bytes] = Encoder(_own_frame)
"""An event's frame with its own data: the same bytes for every follower of the stream."""


def data_frame(data: bytes, position: Position | None = None) -> bytes:
    """Returns a frame without a type of its own, which browsers hand to `onmessage`; without a position, one that does
    not move the client's."""
    head = b"" if position is None else b"id: %b\n" % _id(position)
    return b"%bdata: %b\n\n" % (head, data)


def dropped_frame(after: Position, dropped: Dropped) -> bytes:
    """Returns the frame that says which events the client misses; it goes on after `after`."""
    return b"id: %b\nevent: events_dropped\ndata: %b\n\n" % (_id(after), jsontext.encode(dict(dropped)))


def id_frame(position: Position) -> bytes:
    """Returns a bare id: it moves the client's position past events that its filter left out."""
    return b"id: %b\n\n" % _id(position)


def retry_field() -> bytes:
    """Returns the reconnection delay, jittered so that a restart's clients do not all come back at once. It becomes a
    line of the first frame."""
    return b"retry: %d\n" % random.randint(1000, 3000)  # noqa: S311  (spread, not secrecy)


HEARTBEAT_COMMENT = b": heartbeat\n"
"""The line that keeps a quiet stream open. Comments have no blank line after them, which some clients (httpx-sse) take
for an event without data."""

RESTART_COMMENT = b": restarting, reconnect and resume\n"
"""The line before the end of a stream that the server ends."""


def _id(position: Position) -> bytes:
    return str(position).encode()
