"""Committed events in memory, and the message that carries a batch of them over the channel layer.

An event's wire bytes are made once per process, however many followers take them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgpack


class StoredEvent:
    """One committed event. `data` is its wire object as JSON text; `source` the session's stream in a parent's log."""

    __slots__ = ("_frame", "_socket_frame", "data", "offset", "run_id", "source", "stream_id", "type")

    def __init__(
        self, stream_id: int, offset: int, type_: str, run_id: str | None, data: bytes, source: int | None = None
    ) -> None:
        self.stream_id = stream_id
        self.offset = offset
        self.type = type_
        self.run_id = run_id
        self.data = data
        self.source = source
        self._frame: bytes | None = None
        self._socket_frame: str | None = None

    @property
    def sse_frame(self) -> bytes:
        """The event as a frame of text/event-stream (native contract, "SSE")."""
        if self._frame is None:
            self._frame = b"id: %d\nevent: %b\ndata: %b\n\n" % (self.offset, self.type.encode(), self.data)
        return self._frame

    @property
    def socket_frame(self) -> str:
        """The event as a text frame (native contract, "WebSocket"): text, because ASGI sends bytes as binary frames."""
        if self._socket_frame is None:
            self._socket_frame = f'{{"event":"{self.type}","data":{self.data.decode()},"id":{self.offset}}}'
        return self._socket_frame

    def counted_in(self, stream_id: int, offset: int) -> StoredEvent:
        """The same event as the parent stream counts it."""
        return StoredEvent(stream_id, offset, self.type, self.run_id, self.data, self.stream_id)


class Batch:
    """Events of one stream that were committed together; offsets are consecutive."""

    __slots__ = ("_size", "events", "stream_id")

    def __init__(self, stream_id: int, events: Sequence[StoredEvent]) -> None:
        self.stream_id = stream_id
        self.events = events
        self._size: int | None = None

    @property
    def first(self) -> int:
        """The offset of the oldest event."""
        return self.events[0].offset

    @property
    def last(self) -> int:
        """The offset of the newest event."""
        return self.events[-1].offset

    @property
    def size(self) -> int:
        """Bytes of the events' data, counted once for all followers."""
        if self._size is None:
            self._size = sum(len(event.data) for event in self.events)
        return self._size

    def message(self) -> dict[str, Any]:
        """The batch as a channel-layer message: one blob, which the in-memory layer copies at no cost."""
        rows = [(event.type, event.run_id, event.data, event.source) for event in self.events]
        return {"type": "stream.batch", "batch": msgpack.packb((self.stream_id, self.first, rows))}

    @classmethod
    def of(cls, message: dict[str, Any]) -> Batch:
        """The batch that a message carries."""
        stream_id, first, rows = msgpack.unpackb(message["batch"])
        return cls(stream_id, [StoredEvent(stream_id, first + index, *row) for index, row in enumerate(rows)])
