"""A follower's subscription to one stream: the hub puts batches in, the follower waits for them and takes them."""

from __future__ import annotations

import asyncio
from collections import deque

from django.conf import settings

from core_app.metrics import FOLLOWER_QUEUES_DROPPED
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
    """Batches of one stream for one follower, up to GATEWAY_FOLLOWER_QUEUE_BYTES.

    A follower that takes too little loses the queue, not its place: the log has everything, and it reads that first.
    `given` is the newest offset that this follower was handed, has read or has to read, and `generation` the newest of
    the stream's generations that it knows: what another follower of the stream read says nothing about it. A `doubted`
    follower has to compare its position with the database.
    """

    __slots__ = (
        "batches",
        "closed",
        "doubted",
        "generation",
        "given",
        "memory",
        "nudged",
        "stream_id",
        "stuck_since",
    )

    def __init__(self, stream_id: int) -> None:
        super().__init__()
        self.stream_id = stream_id
        self.batches: deque[Batch] = deque()
        self.memory = 0
        self.given = 0
        self.generation = 0
        self.doubted = False
        self.nudged = False
        self.stuck_since: float | None = None
        """The time, by the loop's clock, at which the queue was dropped, until the follower reads the log."""
        self.closed = False

    @property
    def pending(self) -> bool:
        """True when the follower has something to do."""
        return bool(self.batches) or self.nudged or self.doubted or self.closed

    @property
    def too_slow(self) -> bool:
        """True when nothing was taken for GATEWAY_SLOW_FOLLOWER_SECONDS after the queue was dropped."""
        if self.stuck_since is None:
            return False
        seconds: float = settings.GATEWAY_SLOW_FOLLOWER_SECONDS
        return running_loop().time() - self.stuck_since >= seconds

    def put(self, batch: Batch) -> None:
        """Adds a batch. When the queue is full, drops all of it and makes the follower read the log instead."""
        self.given = max(self.given, batch.last)
        if self.stuck_since is not None:
            return
        if self.batches and self.memory + batch.memory > settings.GATEWAY_FOLLOWER_QUEUE_BYTES:
            FOLLOWER_QUEUES_DROPPED.inc()
            self.clear()
            self.stuck_since, self.nudged = running_loop().time(), True
        else:
            self.batches.append(batch)
            self.memory += batch.memory
        self.wake()

    def pop(self) -> None:
        """Removes the oldest batch."""
        self.memory -= self.batches.popleft().memory

    def clear(self) -> None:
        """Removes all batches."""
        self.batches.clear()
        self.memory = 0

    def catch_up(self) -> None:
        """Notes that the follower is about to read the log: batches that come from now on are for it."""
        self.nudged, self.stuck_since = False, None

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
        if self.pending:
            return True
        try:
            return await self.start_wait(seconds)
        finally:
            self._waiter = None
