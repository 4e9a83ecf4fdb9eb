"""The log's streaming door: what running legs emit, committed for all sessions together (design, decision 1).

One thread per process takes what has gathered from every leg while the previous commit was under way, joins
waiting deltas of one message, and commits it in one transaction. Streams are locked in id order and with SKIP
LOCKED, so a busy one waits for the next round and holds nobody up; a bad row costs only its own stream.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence

import structlog
from django.db import InterfaceError, OperationalError, connection, connections

from core_app.database import write_transaction
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from core_app.metrics import COMMIT_EVENTS, COMMIT_SECONDS, FENCED
from events_app.commit import Commit, Outcome, Submission
from events_app.hub import HUB, Hub
from events_app.lease import Fence, LeaseLost
from events_app.types import Event

MAX_PENDING_EVENTS = 2000
"""A leg that is so far ahead of its commits waits in `emit`."""

MAX_JOINED_CHARACTERS = 32 * 1024

BUSY_PAUSE_SECONDS = 0.002
"""Before streams that somebody else holds are tried again."""

CROWD = 4
"""After a commit of so many legs comes a pause, unless somebody waits for the next: what comes meanwhile is joined and
committed together, where each word of many would be a transaction of its own. Fewer legs' words wait for nothing."""

PROCESSOR_SHARE = 0.05
"""Of a core, that a crowd's commits take, as far as LONGEST_PAUSE_SECONDS allows."""

LONGEST_PAUSE_SECONDS = 0.02

AUDIENCE = 100
"""So many followers of these streams in this process are a crowd too, whose pause is longer: writing a word to them
takes longer than committing it, and a loop that is never done writing has no time to hear the next."""

DELIVERY_SECONDS = 0.0001
"""Of pause for each of an audience: twice what it takes to write to one."""

LONGEST_AUDIENCE_PAUSE_SECONDS = 0.1

log = structlog.get_logger("gateway.flusher")


class LegWriter:
    """A leg's way into the log; its methods belong to the leg's loop, `take`, `settle` and `fail` to the flusher."""

    def __init__(self, flusher: Flusher, fence: Fence, run_id: str) -> None:
        self.fence = fence
        self.run_id = run_id
        self._flusher = flusher
        self._loop = asyncio.get_running_loop()
        self._guard = threading.Lock()
        self._pending: list[Event] = []
        self._taken = 0
        self._failure: BaseException | None = None
        self._waiters: list[asyncio.Future[None]] = []
        self._taken_waiters: list[asyncio.Future[None]] = []

    async def emit(self, event: Event) -> None:
        """Queues an event; waits only when MAX_PENDING_EVENTS are not committed yet. Raises LeaseLost."""
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
        """Until everything emitted so far is committed. Raises LeaseLost, or what the commit failed with."""
        with self._guard:
            waiter = self._loop.create_future() if self._pending or self._taken else None
            if waiter is not None:
                # What is already with the flusher is all that this waits for, unless more has gathered since.
                (self._waiters if self._pending else self._taken_waiters).append(waiter)
        if waiter is not None:
            self._flusher.hurry()
            await waiter
        if self._failure is not None:
            raise self._failure

    # -- the flusher's side --------------------------------------------------------------------------

    def take(self) -> Submission:
        """Everything that waits."""
        with self._guard:
            events, self._pending = self._pending, []
            self._taken = len(events)
            self._taken_waiters, self._waiters = self._waiters, []
        return Submission(self.fence, self.run_id, events)

    def give_back(self, events: Sequence[Event]) -> None:
        """Returns what was not committed, in front of what came since."""
        with self._guard:
            self._pending[:0] = events
            self._taken = 0
            self._waiters[:0], self._taken_waiters = self._taken_waiters, []

    def settle(self, failure: BaseException | None) -> None:
        """Notes the outcome of the events taken last, and wakes who waits for them."""
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


class Flusher(Part):
    """A `core_app.lifecycle.Part`: the thread and the set of legs that have something to commit."""

    def __init__(self, hub: Hub = HUB) -> None:
        self._hub = hub
        self._ready = threading.Condition()
        self._hurry = threading.Event()
        self._dirty: dict[LegWriter, None] = {}
        self._stopping = False
        self._thread: threading.Thread | None = None
        self.commits = 0
        self.committed_events = 0
        self.fenced = 0

    async def start(self) -> None:
        """Starts the thread."""
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="gateway-flusher", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Commits what waits and ends the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._ready:
            self._stopping = True
            self._ready.notify()
        self.hurry()
        await asyncio.get_running_loop().run_in_executor(None, thread.join)

    def writer(self, fence: Fence, run_id: str) -> LegWriter:
        """A leg's door, to be used from the running loop."""
        return LegWriter(self, fence, run_id)

    def wake(self, writer: LegWriter) -> None:
        """Notes that `writer` has something to commit."""
        with self._ready:
            if writer not in self._dirty:
                self._dirty[writer] = None
                self._ready.notify()

    def hurry(self) -> None:
        """Ends the pause between two commits: somebody waits for the next."""
        self._hurry.set()

    def _run(self) -> None:
        while True:
            with self._ready:
                while not self._dirty and not self._stopping:
                    self._ready.wait()
                if not self._dirty:
                    break
                self._hurry.clear()
                writers, self._dirty = list(self._dirty), {}
            began = time.thread_time()
            self._round(writers)
            self._pause(self._pause_after(writers, time.thread_time() - began))
        connections.close_all()

    def _pause_after(self, writers: Sequence[LegWriter], spent: float) -> float:
        """Seconds to gather in, after a commit that took `spent` of processor time."""
        audience = self._hub.audience(writer.fence.stream_id for writer in writers)
        if audience >= AUDIENCE:
            return min(audience * DELIVERY_SECONDS, LONGEST_AUDIENCE_PAUSE_SECONDS)
        if len(writers) >= CROWD:
            return min(spent * (1 / PROCESSOR_SHARE - 1), LONGEST_PAUSE_SECONDS)
        return 0.0

    def _pause(self, seconds: float) -> None:
        if seconds:
            self._hurry.wait(seconds)

    def _round(self, writers: Sequence[LegWriter]) -> None:
        """Takes, commits and settles. Whatever goes wrong is settled too: a leg must never wait for ever."""
        taken = {writer: writer.take() for writer in writers}
        submissions = [taken[writer] for writer in writers]
        try:
            outcome = self._commit(submissions)
        except Exception as error:  # contains: a bad row, a bug in one event, a database that went away
            log.warning("commit_failed", error=error_summary(error), legs=len(writers))
            outcome = self._commit_again(submissions, error)
        busy = [writer for writer in writers if outcome[writer.fence] is Outcome.BUSY]
        for writer in writers:
            result = outcome[writer.fence]
            if result is Outcome.BUSY:
                writer.give_back(taken[writer].events)
            else:
                if isinstance(result, LeaseLost):
                    self.fenced += 1
                    FENCED.inc()
                writer.settle(result if isinstance(result, BaseException) else None)
        if busy:
            time.sleep(BUSY_PAUSE_SECONDS)
            for writer in busy:
                self.wake(writer)

    def _commit(self, submissions: Sequence[Submission]) -> dict[Fence, Outcome | BaseException]:
        work = Commit(submissions)
        with COMMIT_SECONDS.time(), write_transaction():
            work.execute()
        COMMIT_EVENTS.observe(work.count)
        self.commits += 1
        self.committed_events += work.count
        self._hub.publish(work.batches)
        return work.outcome

    def _commit_again(
        self, submissions: Sequence[Submission], error: Exception
    ) -> dict[Fence, Outcome | BaseException]:
        """One transaction per stream, so that only the one that cannot be written fails.

        A lost connection is not tried again: nobody knows whether its commit happened, and a retried leg drops
        the partial text while a repeated batch would double it.
        """
        if isinstance(error, OperationalError | InterfaceError) and connection.vendor != "sqlite":
            connections.close_all()
            return {submission.fence: error for submission in submissions}
        outcome: dict[Fence, Outcome | BaseException] = {}
        for submission in submissions:
            try:
                outcome |= self._commit([submission])
            except Exception as single:  # contains: the one stream that cannot be written
                log.error("stream_commit_failed", stream=submission.fence.stream_id, error=type(single).__name__)
                outcome[submission.fence] = single
        return outcome


FLUSHER = process_wide(Flusher())
"""The flusher of this process."""
