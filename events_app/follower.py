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
from events_app.generations import NO_GENERATIONS, START, Generations, Position
from events_app.hub import HUB, Hub
from events_app.models import Stream
from events_app.positions import Dropped, Resumption, StreamPosition, position
from events_app.subscription import Subscription, Waiter

PAGE = 256
"""Events taken at once, from the log or from waiting batches; fewer where they are large (`log.PAGE_BYTES`)."""

Missing = tuple[Position, Position]
"""The first and the last position of a range."""

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


class FollowerReset(FollowerReleased):
    """The follower returned events that the database lost. `after` is the position after which its client resumes, and
    `dropped` what it is told first; then it has to reconnect, because runs of its stream may be lost, too."""

    def __init__(self, stream_id: int, after: Position, dropped: Dropped) -> None:
        super().__init__(stream_id)
        self.after = after
        self.dropped = dropped


class TooManyStreams(Exception):
    """A `MultiFollower` follows as many streams as it may."""


class StreamReader:
    """The place in one stream, and the two sources of its next events: the log, and a subscription's batches.

    `offset` is that of the last event returned, `generations` those of the log that has it. A batch of an older
    generation is void. A batch or a page of a newer one is taken only after the log was seen to have the event.
    """

    def __init__(self, subscription: Subscription, after: Position, generations: Generations | None) -> None:
        self.stream_id = subscription.stream_id
        self.subscription = subscription
        self.offset, self._generation = after
        self.generations = generations or NO_GENERATIONS
        subscription.generation = self.generations.newest
        self.behind = True
        """The log has, or may have, events that come before those of the batches."""
        self._is_start_known = generations is not None
        self._gap_checked_at = 0
        self._read_ahead: Sequence[StoredEvent] = ()

    @property
    def position(self) -> Position:
        """The position of the last event that was returned; without one, the position to start after."""
        return Position(self.offset, self._generation)

    @property
    def busy(self) -> bool:
        """True when there is something to do without waiting."""
        return self.behind or bool(self._read_ahead) or self.subscription.pending

    def check_ended(self) -> None:
        """Raises FollowerSlow or FollowerReleased when the subscription has ended."""
        if self.subscription.closed:
            raise FollowerReleased(self.stream_id)
        if self.subscription.too_slow:
            raise FollowerSlow(self.stream_id)

    async def step(self) -> Sequence[StoredEvent]:
        """Returns the next events from one of the sources, consecutive ones; perhaps none. Raises FollowerReset."""
        if self.subscription.doubted:
            await self._verify()
        if self._read_ahead:
            return self._consecutive(self._read_ahead)
        return self._consecutive(await self._read()) if self.behind else self._take()

    def move_past(self, events: Sequence[StoredEvent]) -> Missing | None:
        """Moves the position past the events, which are returned now. Returns the range before them that is no longer
        kept, if there is one."""
        missing, first = None, events[0].offset
        if first != self.offset + 1:
            at = self.generations.position
            missing = (at(self.offset + 1), at(first - 1))
        self.offset, self._generation = events[-1].offset, events[-1].generation
        return missing

    async def _read(self) -> Sequence[StoredEvent]:
        """Returns a page of the log."""
        self.subscription.catch_up()
        page = await database.run(log.read_page, self.stream_id, after=self.offset, limit=PAGE)
        if page.events and not self._goes_on_in(page.generations):
            await self._verify()
            return ()
        self.behind = log.read_was_cut(page.events, PAGE)
        given = page.events[-1].offset if page.events else self.offset
        self.subscription.given = max(self.subscription.given, given)
        return page.events

    def _take(self) -> Sequence[StoredEvent]:
        """Returns the events of the batches that wait, several together: the further behind a follower is, the less an
        event costs it."""
        taken: list[StoredEvent] = []
        size, offset, batches = 0, self.offset, self.subscription.batches
        while batches and len(taken) < PAGE and size < log.PAGE_BYTES:
            batch = batches[0]
            if batch.generations is not self.generations:
                if batch.generations.newest < self.generations.newest:
                    self.subscription.pop()
                    continue
                if taken:
                    break
                if not self._goes_on_in(batch.generations):
                    self.subscription.doubted = True
                    return ()
            if batch.first > offset + 1:
                if taken:
                    break  # callers look for a gap before the first event only
                if self._gap_checked_at != batch.first:
                    # Check the log once per batch. Events missing there too have been deleted, so do not ask again.
                    self._gap_checked_at, self.behind = batch.first, True
                    return ()
            self.subscription.pop()
            if batch.last > offset:
                taken += batch.events[max(0, offset + 1 - batch.first) :]
                size += batch.size
                offset = batch.last
        if not taken:
            self.behind = self.subscription.nudged
        return taken

    def _consecutive(self, events: Sequence[StoredEvent]) -> Sequence[StoredEvent]:
        """Returns the events up to the first gap between them; the others follow at the next step."""
        self._read_ahead = ()
        if not events or events[-1].offset - events[0].offset < len(events):
            return events
        first = events[0].offset
        count = next(place for place, event in enumerate(events) if event.offset != first + place)
        self._read_ahead = events[count:]
        return events[:count]

    def _goes_on_in(self, generations: Generations) -> bool:
        """Returns True, and knows the generations from then on, when the log that has them has the last event, too."""
        if generations.newest != self.generations.newest or not self._is_start_known:
            if self.offset and generations.position(self.offset) != self.position:
                return False
            # At the beginning there is no event to recognise: the id may be that of another stream by now.
            if not self.offset and self._is_start_known:
                return False
        self.generations, self._is_start_known = generations, True
        self.subscription.generation = generations.newest
        return True

    async def _verify(self) -> None:
        """Compares the position with the database. Raises FollowerReset when the log does not have it, and
        FollowerReleased when the stream is gone, or began after this reader did."""
        try:
            here, found = await database.run(_resume, self.stream_id, self.position)
        except Stream.DoesNotExist:
            raise FollowerReleased(self.stream_id) from None
        self.subscription.doubted = False
        if found.reset:
            assert found.dropped is not None
            raise FollowerReset(self.stream_id, here.at(found.after), found.dropped)
        if not self._goes_on_in(here.generations):
            raise FollowerReleased(self.stream_id)
        # What was handed over may be of the log that is lost, and is in this one if it is not.
        self.subscription.clear()
        self._read_ahead = ()
        self.subscription.given, self.behind = self.offset, True


def _resume(stream_id: int, seen: Position) -> tuple[StreamPosition, Resumption]:
    here = position(stream_id)
    return here, here.resume(seen)


class Follower(StreamReader):
    """One reader of one stream, from `after` on; an async context manager.

    `generations` are those with which `after` was found. Without them, a reader of an empty stream cannot tell it from
    one that got its id after a restore.
    """

    def __init__(
        self, stream_id: int, *, after: Position = START, generations: Generations | None = None, hub: Hub = HUB
    ) -> None:
        super().__init__(Subscription(stream_id), after, generations)
        self.missing: Missing | None = None
        """The range before the events last returned that is no longer kept."""
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

        The events are consecutive; `missing` says which ones before them are no longer kept. Raises FollowerSlow,
        FollowerReleased and FollowerReset.
        """
        limit = settings.GATEWAY_HEARTBEAT_SECONDS if seconds is None else seconds
        while True:
            if self._hub.draining:
                raise FollowerReleased
            self.check_ended()
            events = await self.step()
            if events:
                self.missing = self.move_past(events)
                return events
            if not self.behind and not await self.subscription.wait(limit):
                return ()


class StreamEvents(NamedTuple):
    """Consecutive events of one stream, and the range before them that is no longer kept."""

    stream_id: int
    missing: Missing | None
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
    def positions(self) -> dict[int, Position]:
        """The position of the newest event that was returned of each stream; without one, the one to start after."""
        return {stream_id: reader.position for stream_id, reader in self._readers.items()}

    async def add(self, stream_id: int, *, after: Position = START, generations: Generations | None = None) -> None:
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
        self._readers[stream_id] = StreamReader(subscription, after, generations)
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
            events = await reader.step()
        except FollowEnded:
            if self._readers.get(stream_id) is not reader:
                return None
            self.remove(stream_id)
            raise
        if self._readers.get(stream_id) is not reader:
            return None  # it was removed while the log was read
        del self._ready[stream_id]
        if reader.busy:
            self._ready[stream_id] = None
        if not events:
            return None
        return StreamEvents(stream_id, reader.move_past(events), events)

    async def _wait(self, seconds: float) -> bool:
        try:
            return await self._waiter.start_wait(seconds)
        finally:
            self._waiter.end_wait()
