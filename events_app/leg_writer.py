"""The writer of one leg: gathers the events that the leg emits until the flusher commits them."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Protocol

from events_app.commit import Submission
from events_app.lease import Fence
from events_app.types import Event

MAX_PENDING_EVENTS = 2000
"""A leg that is this far ahead of its commits waits in `emit`."""

MAX_JOINED_CHARACTERS = 32 * 1024
"""The longest delta that is stored: longer ones are split, shorter ones joined up to it."""

BUSY_PAUSE_SECONDS = 0.002
"""Pause before a stream that another transaction has locked is tried again."""

LONGEST_BUSY_PAUSE_SECONDS = 0.05
BUSY_SHARE = 0.1
"""The pause grows to this share of the time for which the stream has been locked, up to the longest: a stream that is
locked for seconds must not cost a transaction every 2 ms, and one in a busy group must not wait for long."""


class Committer(Protocol):
    """The flusher, as far as a writer needs it."""

    def wake(self, writer: LegWriter) -> None: ...

    def hurry(self) -> None: ...


class LegWriter:
    """Writes the events of one leg through the flusher.

    `emit` and `drain` belong to the leg's loop; `take`, `put_back` and `settle` are the flusher's.
    """

    def __init__(self, flusher: Committer, fence: Fence, run_id: str) -> None:
        self.fence = fence
        self.run_id = run_id
        self._flusher = flusher
        self._loop = asyncio.get_running_loop()
        self._guard = threading.Lock()
        self._pending: list[Event] = []
        self._taken = 0
        self._failure: BaseException | None = None
        self._busy_since: float | None = None
        self.retry_at = 0.0
        self.group_id: int | None = None
        """The group in whose turns it commits until `crowded_until`, by the monotonic clock (`group_turns`)."""
        self.crowded_until = 0.0
        self._waiters: list[asyncio.Future[None]] = []
        self._taken_waiters: list[asyncio.Future[None]] = []

    async def emit(self, event: Event) -> None:
        """Queues an event, and waits when MAX_PENDING_EVENTS are not committed yet. Raises LeaseLost."""
        if self._failure is not None:
            raise self._failure
        with self._guard:
            for piece in event.split(MAX_JOINED_CHARACTERS):
                append_joined(self._pending, piece)
            backlog = len(self._pending)
        self._flusher.wake(self)
        if backlog >= MAX_PENDING_EVENTS:
            await self.drain()

    async def drain(self) -> None:
        """Waits until everything emitted so far is committed. Raises LeaseLost, or the error of the commit."""
        with self._guard:
            waiter = self._loop.create_future() if self._pending or self._taken else None
            if waiter is not None:
                # Events that the flusher has taken are all that this waits for, unless more have gathered since.
                (self._waiters if self._pending else self._taken_waiters).append(waiter)
        if waiter is not None:
            self._flusher.hurry()
            await waiter
        if self._failure is not None:
            raise self._failure

    # -- the flusher's side --------------------------------------------------------------------------

    def take(self) -> Submission:
        """Returns everything that waits."""
        with self._guard:
            events, self._pending = self._pending, []
            self._taken = len(events)
            self._taken_waiters, self._waiters = self._waiters, []
        return Submission(self.fence, self.run_id, events)

    def put_back(self, events: Sequence[Event]) -> None:
        """Puts events that were not committed in front of those that came since."""
        with self._guard:
            self._pending[:0] = events
            self._taken = 0
            self._waiters[:0], self._taken_waiters = self._taken_waiters, []

    def postpone(self, now: float) -> None:
        """Notes that the stream was locked: the writer's next turn is at `retry_at`."""
        self._busy_since = now if self._busy_since is None else self._busy_since
        pause = max(BUSY_PAUSE_SECONDS, (now - self._busy_since) * BUSY_SHARE)
        self.retry_at = now + min(pause, LONGEST_BUSY_PAUSE_SECONDS)

    def settle(self, failure: BaseException | None) -> None:
        """Notes the outcome of the events taken last, and wakes the tasks that wait for them."""
        self._busy_since, self.retry_at = None, 0.0
        with self._guard:
            self._taken = 0
            self._failure = self._failure or failure
            waiters, self._taken_waiters = self._taken_waiters, []
            if failure is not None:
                self._pending.clear()
                waiters += self._waiters
                self._waiters = []
        if waiters and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(_release, waiters)


def append_joined(pending: list[Event], event: Event) -> None:
    """Appends an event to those that wait for the same commit; a delta is joined to the last one where that goes."""
    joined = pending[-1].join(event, MAX_JOINED_CHARACTERS) if pending else None
    if joined is not None:
        pending[-1] = joined
    else:
        pending.append(event)


def _release(waiters: Sequence[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
