"""Following a stream: the log first, then live batches, and the log again wherever a batch does not continue.

A follower yields every event after its position exactly once and in order, whatever the channel layer drops,
repeats or reorders. It holds no database connection, and one that cannot keep up is ended: its client resumes
from the last offset it took.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from django.conf import settings

from core_app import database
from events_app import log
from events_app.batches import StoredEvent
from events_app.hub import HUB, Hub

PAGE = 256
"""Events taken at once, from the log or of those that wait; fewer where they are large (`log.PAGE_BYTES`)."""


class FollowEnded(Exception):
    """The follower is over; the client should reconnect and resume from its last offset."""


class FollowerSlow(FollowEnded):
    """More was committed than the follower took (close code 4001)."""


class FollowerReleased(FollowEnded):
    """The server is about to end (close code 4000), or the client has gone."""


class Follower:
    """One reader of one stream, from `after` on; an async context manager."""

    def __init__(self, stream_id: int, *, after: int, hub: Hub = HUB) -> None:
        self.stream_id = stream_id
        self.position = after
        self._hub = hub
        self._behind = True
        self._looked_for = 0

    async def __aenter__(self) -> Follower:
        self._subscription = await self._hub.attach(self.stream_id)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._hub.detach(self._subscription)

    def close(self) -> None:
        """Ends the follower at its next step; for whoever notices that the client has gone."""
        self._subscription.close()

    async def next(self, seconds: float | None = None) -> Sequence[StoredEvent]:
        """The next events, at least one; or none when `seconds` (GATEWAY_HEARTBEAT_SECONDS) passed without any.

        Events that retention has removed are missing at the front: the first offset then tells how many.
        """
        limit = settings.GATEWAY_HEARTBEAT_SECONDS if seconds is None else seconds
        while True:
            self._check_ended()
            events = await self._read() if self._behind else self._take()
            if events:
                self.position = events[-1].offset
                return events
            if not self._behind and not await self._subscription.wait(limit):
                return ()

    def _check_ended(self) -> None:
        if self._subscription.closed or self._hub.draining:
            raise FollowerReleased
        if self._subscription.overflowed:
            raise FollowerSlow

    async def _read(self) -> Sequence[StoredEvent]:
        self._subscription.nudged = False
        events = await database.run(log.read, self.stream_id, after=self.position, limit=PAGE)
        self._behind = log.read_was_cut(events, PAGE)
        self._subscription.given = max(self._subscription.given, events[-1].offset if events else self.position)
        return events

    def _take(self) -> Sequence[StoredEvent]:
        """What has come, of several batches together: the more a follower is behind, the less an event costs it."""
        taken: list[StoredEvent] = []
        size, position, batches = 0, self.position, self._subscription.batches
        while batches and len(taken) < PAGE and size < log.PAGE_BYTES:
            batch = batches[0]
            if batch.first > position + 1:
                if taken:
                    break  # whoever reads this looks for a gap before the first event alone
                if self._looked_for != batch.first:
                    # Once for each batch: what the log has not either was removed, and is not asked for for ever.
                    self._looked_for, self._behind = batch.first, True
                    return ()
            batches.popleft()
            if batch.last > position:
                taken += batch.events[max(0, position + 1 - batch.first) :]
                size += batch.size
                position = batch.last
        if not taken:
            self._behind = self._subscription.nudged
        return taken
