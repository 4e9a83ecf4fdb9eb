"""Followers of streams: the log first, then live batches, and the log again wherever a batch does not continue.

A follower yields every event after its position exactly once and in order, whatever the channel layer drops,
repeats or reorders. It holds no database connection. One that cannot keep up reads the log again; one that takes
nothing for another GATEWAY_SLOW_FOLLOWER_SECONDS is ended, and its client resumes from the last offset that it took.
`Follower` follows one stream, `MultiFollower` any number of them in one wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple

from django.conf import settings

from core_app import database
from events_app import log
from events_app.batches import StoredEvent
from events_app.hub import HUB, Hub
from events_app.subscription import Subscription, Waiter

PAGE = 256
"""Events taken at once, from the log or from waiting batches; fewer where they are large (`log.PAGE_BYTES`)."""

MAX_STREAMS = 1000
"""Streams of one `MultiFollower`, each of which may have GATEWAY_FOLLOWER_QUEUE_BYTES waiting."""


class FollowEnded(Exception):
    """The follower is over; the client should reconnect and resume from its last offset.

    `stream_id` is the only stream that this is about; None when it is about all of them.
    """

    def __init__(self, stream_id: int | None = None) -> None:
        super().__init__(stream_id)
        self.stream_id = stream_id


class FollowerSlow(FollowEnded):
    """The follower took nothing for too long, and missed what was committed meanwhile (close code 4001)."""


class FollowerReleased(FollowEnded):
    """The server is about to end (close code 4000), the stream was removed, or the client has gone."""


class TooManyStreams(Exception):
    """A `MultiFollower` follows as many streams as it may."""


class StreamReader:
    """The position in one stream, and the two sources of its next events: the log, and a subscription's batches."""

    def __init__(self, subscription: Subscription, after: int) -> None:
        self.stream_id = subscription.stream_id
        self.position = after
        self.subscription = subscription
        self.behind = True
        """The log has, or may have, events that come before those of the batches."""
        self._gap_checked_at = 0

    def check_ended(self) -> None:
        """Raises FollowerSlow or FollowerReleased when the subscription has ended."""
        if self.subscription.closed:
            raise FollowerReleased(self.stream_id)
        if self.subscription.too_slow:
            raise FollowerSlow(self.stream_id)

    async def read(self) -> Sequence[StoredEvent]:
        """Returns a page of the log."""
        self.subscription.catch_up()
        events = await database.run(log.read, self.stream_id, after=self.position, limit=PAGE)
        self.behind = log.read_was_cut(events, PAGE)
        self.subscription.given = max(self.subscription.given, events[-1].offset if events else self.position)
        return events

    def take(self) -> Sequence[StoredEvent]:
        """Returns the events of the batches that wait, several together: the further behind a follower is, the less an
        event costs it."""
        taken: list[StoredEvent] = []
        size, position, batches = 0, self.position, self.subscription.batches
        while batches and len(taken) < PAGE and size < log.PAGE_BYTES:
            batch = batches[0]
            if batch.first > position + 1:
                if taken:
                    break  # callers look for a gap before the first event only
                if self._gap_checked_at != batch.first:
                    # Check the log once per batch. Events missing there too have been deleted, so do not ask again.
                    self._gap_checked_at, self.behind = batch.first, True
                    return ()
            self.subscription.pop()
            if batch.last > position:
                taken += batch.events[max(0, position + 1 - batch.first) :]
                size += batch.size
                position = batch.last
        if not taken:
            self.behind = self.subscription.nudged
        return taken


class Follower(StreamReader):
    """One reader of one stream, from `after` on; an async context manager."""

    def __init__(self, stream_id: int, *, after: int, hub: Hub = HUB) -> None:
        super().__init__(Subscription(stream_id), after)
        self._hub = hub

    async def __aenter__(self) -> Follower:
        await self._hub.attach(self.subscription)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub.detach(self.subscription)

    def close(self) -> None:
        """Ends the follower at its next step, because the client has gone."""
        self.subscription.close()

    async def next(self, seconds: float | None = None) -> Sequence[StoredEvent]:
        """Returns the next events, at least one; none when `seconds` (GATEWAY_HEARTBEAT_SECONDS) passed without any.

        Events that retention has removed are missing at the front: the first offset then tells how many. Raises
        FollowerSlow and FollowerReleased.
        """
        limit = settings.GATEWAY_HEARTBEAT_SECONDS if seconds is None else seconds
        while True:
            if self._hub.draining:
                raise FollowerReleased
            self.check_ended()
            events = await self.read() if self.behind else self.take()
            if events:
                self.position = events[-1].offset
                return events
            if not self.behind and not await self.subscription.wait(limit):
                return ()


class StreamEvents(NamedTuple):
    """Events of one stream. When the first offset is above `after` + 1, those between are no longer kept."""

    stream_id: int
    after: int
    events: Sequence[StoredEvent]


class _Member(Subscription):
    """The subscription of one of several streams: whatever comes in wakes the follower of all of them."""

    __slots__ = ("_follower",)

    def __init__(self, stream_id: int, follower: MultiFollower) -> None:
        super().__init__(stream_id)
        self._follower = follower

    def wake(self) -> None:
        self._follower.notice(self.stream_id)


class MultiFollower:
    """One reader of several streams; an async context manager, and nothing is followed before `add`.

    Events of each stream come in its order; the streams take turns, a page at a time. `add` and `remove` may be called
    while `next` waits. Each stream has a subscription, a position and gap repair of its own; when one ends, the
    others go on.
    """

    def __init__(self, *, hub: Hub = HUB, limit: int = MAX_STREAMS) -> None:
        self._hub = hub
        self._limit = limit
        self._readers: dict[int, StreamReader] = {}
        self._joining: dict[int, Subscription] = {}
        self._ready: dict[int, None] = {}
        self._waiter = Waiter()
        self._closed = False

    async def __aenter__(self) -> MultiFollower:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream_id in [*self._readers, *self._joining]:
            self.remove(stream_id)
        self._waiter.disarm()

    @property
    def positions(self) -> dict[int, int]:
        """The newest offset that was returned of each stream; where nothing was, the one to start after."""
        return {stream_id: reader.position for stream_id, reader in self._readers.items()}

    async def add(self, stream_id: int, *, after: int) -> None:
        """Follows one more stream. Raises TooManyStreams, and ValueError for a stream that is followed."""
        if stream_id in self._readers or stream_id in self._joining:
            raise ValueError(f"Stream {stream_id} is followed already.")
        if len(self._readers) + len(self._joining) >= self._limit:
            raise TooManyStreams(self._limit)
        subscription = self._joining[stream_id] = _Member(stream_id, self)
        try:
            await self._hub.attach(subscription)
        except BaseException:
            self._joining.pop(stream_id, None)
            raise
        if self._joining.get(stream_id) is not subscription:
            return  # it was removed, and perhaps added again, meanwhile
        del self._joining[stream_id]
        self._readers[stream_id] = StreamReader(subscription, after)
        self.notice(stream_id)

    def remove(self, stream_id: int) -> None:
        """Follows the stream no longer; nothing of it is returned from now on. Does nothing for one that is not
        followed."""
        joining, reader = self._joining.pop(stream_id, None), self._readers.pop(stream_id, None)
        self._ready.pop(stream_id, None)
        if joining is not None:
            self._hub.detach(joining)
        if reader is not None:
            self._hub.detach(reader.subscription)

    def close(self) -> None:
        """Ends the follower at its next step, because the client has gone."""
        self._closed = True
        self._waiter.wake()

    def notice(self, stream_id: int) -> None:
        """Notes that there is something to do for a stream; its subscription calls this."""
        if stream_id in self._readers:
            self._ready[stream_id] = None
            self._waiter.wake()

    async def next(self, seconds: float | None = None) -> StreamEvents | None:
        """Returns the next events of one of the streams; None when `seconds` (GATEWAY_HEARTBEAT_SECONDS) passed without
        any.

        Raises FollowerSlow and FollowerReleased. Where these name a stream, that stream is no longer followed and
        `next` may be called again.
        """
        limit = settings.GATEWAY_HEARTBEAT_SECONDS if seconds is None else seconds
        while True:
            if self._closed or self._hub.draining:
                raise FollowerReleased
            if self._ready:
                stream_id = next(iter(self._ready))
                if (found := await self._step(stream_id, self._readers[stream_id])) is not None:
                    return found
            elif not await self._wait(limit):
                return None

    async def _step(self, stream_id: int, reader: StreamReader) -> StreamEvents | None:
        """Takes a page of one stream, which then goes behind the others if it has more."""
        try:
            reader.check_ended()
        except FollowEnded:
            self.remove(stream_id)
            raise
        events = await reader.read() if reader.behind else reader.take()
        if self._readers.get(stream_id) is not reader:
            return None  # it was removed while the log was read
        del self._ready[stream_id]
        if reader.behind or reader.subscription.pending:
            self._ready[stream_id] = None
        if not events:
            return None
        after, reader.position = reader.position, events[-1].offset
        return StreamEvents(stream_id, after, events)

    async def _wait(self, seconds: float) -> bool:
        try:
            return await self._waiter.start_wait(seconds)
        finally:
            self._waiter.end_wait()
