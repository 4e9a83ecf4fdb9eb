"""A follower's subscription to one stream: the hub puts batches in, the follower waits for them and takes them."""

from __future__ import annotations

import asyncio
from collections import deque

from django.conf import settings

from core_app.timeouts import running_loop
from events_app.batches import Batch


class Waiter:
    """The wait of one task, which others end early. Belongs to the loop."""

    __slots__ = ("_due", "_timer", "_waiter")

    def __init__(self) -> None:
        self._waiter: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def wake(self) -> None:
        """Ends the wait."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    def start_wait(self, seconds: float) -> asyncio.Future[bool]:
        """Returns a future that becomes True with the next `wake`, or False after `seconds`; awaited at once."""
        loop = running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        self._due = loop.time() + seconds
        # One timer for many waits: on a stream that is written to, each lasts some milliseconds of a heartbeat.
        if self._timer is None or self._timer.when() > self._due:
            self._arm(loop)
        return waiter

    def end_wait(self) -> None:
        """Forgets the future, whose wait is over or was cancelled."""
        self._waiter = None

    def disarm(self) -> None:
        """Cancels the timer; after the last wait."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = loop.call_at(self._due, self._expire, loop)

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._waiter is None or self._waiter.done():
            return
        if loop.time() < self._due:
            self._arm(loop)
        else:
            self._waiter.set_result(False)


class Subscription(Waiter):
    """Batches of one stream for one follower, at most GATEWAY_FOLLOWER_QUEUE of them.

    `given` is the newest offset that this follower was handed or has read, and `generation` the newest of the stream's
    generations that it knows: what another follower of the stream read says nothing about it. A `doubted` follower has
    to compare its position with the database.
    """

    __slots__ = ("batches", "closed", "doubted", "generation", "given", "nudged", "overflowed", "stream_id")

    def __init__(self, stream_id: int) -> None:
        super().__init__()
        self.stream_id = stream_id
        self.batches: deque[Batch] = deque()
        self.given = 0
        self.generation = 0
        self.doubted = False
        self.nudged = False
        self.overflowed = False
        self.closed = False

    @property
    def pending(self) -> bool:
        """True when the follower has something to do."""
        return bool(self.batches) or self.nudged or self.doubted or self.closed or self.overflowed

    def put(self, batch: Batch) -> None:
        """Adds a batch, or notes that the follower fell behind."""
        if len(self.batches) >= settings.GATEWAY_FOLLOWER_QUEUE:
            self.overflowed = True
            self.batches.clear()
        elif not self.overflowed:
            self.batches.append(batch)
            self.given = max(self.given, batch.last)
        self.wake()

    def nudge(self) -> None:
        """Makes the follower read the log, which has more than it was given."""
        self.nudged = True
        self.wake()

    def doubt(self) -> None:
        """Makes the follower compare its position with the database, which may have gone back in time."""
        self.doubted = True
        self.wake()

    def close(self) -> None:
        """Ends the follower at its next step."""
        self.closed = True
        self.wake()

    async def wait(self, seconds: float) -> bool:
        """Waits until the follower has something to do (True) or `seconds` have passed (False)."""
        if self.batches or self.nudged or self.doubted or self.closed or self.overflowed:
            return True
        try:
            return await self.start_wait(seconds)
        finally:
            self._waiter = None
