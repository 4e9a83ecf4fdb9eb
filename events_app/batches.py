"""Committed events in memory, their encoders, and the message that carries a batch of them over the channel layer.

A face has an encoder for each form in which it shows events. An event keeps what an encoder made of it, so its bytes
are made once per process, however many followers take them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

import msgpack

from events_app.generations import NO_GENERATIONS, Generations, Position

T = TypeVar("T")

EVENT_BYTES = 256
"""Memory of an event beside its data: measured 246 bytes, with its share of a batch of one."""

_encoders = itertools.count()


class Encoder(Generic[T]):
    """A form of events on the wire. Made once, at import: its `index` says where events keep its results."""

    __slots__ = ("encode", "index")

    def __init__(self, encode: Callable[[StoredEvent], T]) -> None:
        self.encode = encode
        self.index = next(_encoders)


class StoredEvent:
    """One committed event. `data` is its wire object as JSON text; `source` the session's stream in a parent's log;
    `generation` the one in which it was committed."""

    __slots__ = ("_first", "_second", "data", "generation", "offset", "run_id", "source", "stream_id", "type")

    def __init__(
        self,
        stream_id: int,
        offset: int,
        type_: str,
        run_id: str | None,
        data: bytes,
        source: int | None = None,
        generation: int = 0,
    ) -> None:
        self.stream_id = stream_id
        self.offset = offset
        self.type = type_
        self.run_id = run_id
        self.data = data
        self.source = source
        self.generation = generation
        self._first: Any = None
        self._second: Any = None

    @property
    def position(self) -> Position:
        """The position after this event, which is its id on the wire."""
        return Position(self.offset, self.generation)

    def encode(self, encoder: Encoder[T]) -> T:
        """Returns what the encoder makes of this event. Results of the process's first two encoders have a slot each;
        an event that a third one is used on changes to a class with a dictionary in place of the second slot."""
        result: T
        index = encoder.index
        if not index:
            if (result := self._first) is None:
                result = self._first = encoder.encode(self)
            return result
        if index == 1:
            if (result := self._second) is None:
                result = self._second = encoder.encode(self)
            return result
        self._second = {} if self._second is None else {1: self._second}
        self.__class__ = _ManyFormsEvent
        return self.encode(encoder)

    def counted_in(self, stream_id: int, offset: int, generation: int) -> StoredEvent:
        """Returns the same event as the parent stream counts it."""
        return StoredEvent(stream_id, offset, self.type, self.run_id, self.data, self.stream_id, generation)


class _ManyFormsEvent(StoredEvent):
    """An event that more than two encoders are used on: `_second` has their results by index, but the first one's."""

    __slots__ = ()

    def encode(self, encoder: Encoder[T]) -> T:
        if not encoder.index:
            return super().encode(encoder)
        results: dict[int, T] = self._second
        if encoder.index not in results:
            results[encoder.index] = encoder.encode(self)
        return results[encoder.index]


class Batch:
    """Events of one stream that were committed together. Their offsets are consecutive, and their generation is the
    newest of the stream's `generations` then."""

    __slots__ = ("_size", "events", "generations", "stream_id")

    def __init__(
        self, stream_id: int, events: Sequence[StoredEvent], generations: Generations = NO_GENERATIONS
    ) -> None:
        self.stream_id = stream_id
        self.events = events
        self.generations = generations
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
        """Bytes of the events' data, summed once for all followers."""
        if self._size is None:
            self._size = sum(len(event.data) for event in self.events)
        return self._size

    @property
    def memory(self) -> int:
        """Bytes that a queue counts for the batch: the events' data, and the objects that hold them."""
        return self.size + EVENT_BYTES * len(self.events)

    def message(self) -> dict[str, Any]:
        """Returns the batch as a channel-layer message: one blob, which the in-memory layer need not copy.

        In generation 0 it is one that processes of the version before understand.
        """
        rows = [(event.type, event.run_id, event.data, event.source) for event in self.events]
        generations = (self.generations.text,) if self.generations.bases else ()
        return {"type": "stream.batch", "batch": msgpack.packb((self.stream_id, self.first, rows, *generations))}

    @classmethod
    def of(cls, message: dict[str, Any]) -> Batch:
        """Returns the batch that a message carries."""
        stream_id, first, rows, *text = msgpack.unpackb(message["batch"])
        generations = Generations.parse(text[0]) if text else NO_GENERATIONS
        newest = generations.newest
        events = [
            StoredEvent(stream_id, first + index, type_, run_id, data, source, newest)
            for index, (type_, run_id, data, source) in enumerate(rows)
        ]
        return cls(stream_id, events, generations)
