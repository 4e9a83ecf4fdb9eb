"""The bytes of text/event-stream: the only module that writes frames of the gateway's own streams.

docs/protocol-native.md, "Following over SSE", says what clients see. Streams that are relayed from providers are passed
on as they come and are not made here.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

from core_app import jsontext
from events_app.batches import Encoder, StoredEvent

HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def event_frame(event: StoredEvent, data: bytes) -> bytes:
    """Returns an event's frame with `data` in place of the event's own."""
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.offset, event.type.encode(), data)


def _own_frame(event: StoredEvent) -> bytes:
    return b"id: %d\nevent: %b\ndata: %b\n\n" % (event.offset, event.type.encode(), event.data)


EVENT_FRAME: Encoder[bytes] = Encoder(_own_frame)
"""An event's frame with its own data: the same bytes for every follower of the stream."""


def dropped_frame(offset: int, dropped: Mapping[str, object]) -> bytes:
    """Returns the frame in place of events that are no longer kept, up to `offset`."""
    return b"id: %d\nevent: events_dropped\ndata: %b\n\n" % (offset, jsontext.encode(dict(dropped)))


def id_frame(offset: int) -> bytes:
    """Returns a bare id: it moves the client's position past events that its filter left out."""
    return b"id: %d\n\n" % offset


def retry_frame() -> bytes:
    """Returns the reconnection delay, jittered so that a restart's clients do not all come back at once."""
    return b"retry: %d\n\n" % random.randint(1000, 3000)  # noqa: S311  (spread, not secrecy)


def heartbeat_frame(offset: int) -> bytes:
    """Returns a comment with a bare id, so that a client that filters does not fall behind."""
    return b": heartbeat\nid: %d\n\n" % offset


def restart_frame() -> bytes:
    """Returns the comment before a stream that the server ends."""
    return b": restarting, reconnect and resume\n\n"
