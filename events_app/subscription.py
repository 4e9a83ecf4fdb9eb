"""What one follower is given by the hub, and how it waits for it."""

from __future__ import annotations

import asyncio
from collections import deque

from django.conf import settings

from core_app.timeouts import running_loop
from events_app.batches import Batch


class Subscription:
    """A follower's end: batches in, woken once; never more than GATEWAY_FOLLOWER_QUEUE of them.

    `given` is the newest offset that this follower was handed or has read: what another follower of the stream
    read says nothing about it.
    """

    __slots__ = ("_due", "_timer", "_waiter", "batches", "closed", "given", "nudged", "overflowed", "stream_id")

    def __init__(self, stream_id: int) -> None:
        self.stream_id = stream_id
        self.batches: deque[Batch] = deque()
        self.given = 0
        self.nudged = False
        self.overflowed = False
        self.closed = False
        self._waiter: asyncio.Future[bool] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def put(self, batch: Batch) -> None:
        """Takes a batch, or notes that the follower fell behind."""
        if len(self.batches) >= settings.GATEWAY_FOLLOWER_QUEUE:
            self.overflowed = True
            self.batches.clear()
        elif not self.overflowed:
            self.batches.append(batch)
            self.given = max(self.given, batch.last)
        self.wake()

    def nudge(self) -> None:
        """Tells the follower that the log has more than it was given."""
        self.nudged = True
        self.wake()

    def close(self) -> None:
        """Ends the follower at its next step."""
        self.closed = True
        self.wake()

    def wake(self) -> None:
        """Ends the follower's wait."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(True)

    async def wait(self, seconds: float) -> bool:
        """Until there is something to do (True) or `seconds` have passed (False)."""
        if self.batches or self.nudged or self.closed or self.overflowed:
            return True
        loop = running_loop()
        waiter: asyncio.Future[bool] = loop.create_future()
        self._waiter = waiter
        self._due = loop.time() + seconds
        # One timer for many waits: of a stream that is written to, each lasts some milliseconds of a heartbeat.
        if self._timer is None or self._timer.when() > self._due:
            self._arm(loop)
        try:
            return await waiter
        finally:
            self._waiter = None

    def disarm(self) -> None:
        """Ends the timer; for whoever will not wait again."""
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
