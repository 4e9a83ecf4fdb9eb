"""The flusher: commits what running legs emit, for all of them together (docs/architecture.md, "The life of a prompt").

One thread per process takes the events that have gathered from all legs during the previous commit and commits them in
one transaction; deltas of one message that wait for the same commit are joined. Streams are locked in the order of
their ids and with SKIP LOCKED: a busy one is tried again after a pause and delays no other. A bad event fails only its
own stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Mapping, Sequence

import structlog
from django.db import InterfaceError, OperationalError, connection, connections

from core_app.database import database_unavailable, may_succeed_again, write_transaction
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from core_app.metrics import COMMIT_EVENTS, COMMIT_SECONDS, FENCED, FLUSHER_FAILURES
from events_app.commit import Commit, GroupBusy, Outcome, Result, Submission, group_wait
from events_app.group_turns import CROWDED_SECONDS, WAIT_SECONDS, GroupTurns, Take
from events_app.hub import HUB, Hub
from events_app.lease import Fence, LeaseLost
from events_app.leg_writer import LegWriter

CROWD = 4
"""After a commit for this many legs the flusher pauses, unless a leg waits for the next commit. Deltas that come during
the pause are joined and committed together; without it each would be a transaction. Fewer legs cause no pause."""

PROCESSOR_SHARE = 0.05
"""Share of a core that commits for many legs may take; the pause is as long as that needs, within
LONGEST_PAUSE_SECONDS."""

LONGEST_PAUSE_SECONDS = 0.02

AUDIENCE = 100
"""With this many followers of the committed streams in this process there is a pause too, and a longer one: sending a
delta to all of them takes longer than committing it, and a loop that is busy sending cannot receive the next one."""

DELIVERY_SECONDS = 0.0001
"""Pause per follower: twice the time that sending to one takes."""

LONGEST_AUDIENCE_PAUSE_SECONDS = 0.1

FREE_SECONDS = 0.002
"""A group whose row comes sooner was free: no other process has needed it meanwhile."""

DIED_ADVICE = "The thread that commits events ended and was started again; a traceback before this line says why."

logger = structlog.get_logger("gateway.flusher")


class OutcomeUnknown(Exception):
    """A commit failed on the way, and may have happened. The cause is the database's error."""


class Flusher(Part):
    """The thread that commits, and the set of writers that have something to commit."""

    def __init__(self, hub: Hub = HUB) -> None:
        self._hub = hub
        guard = threading.RLock()
        self._ready = threading.Condition(guard)
        self._groups = GroupTurns(guard, self._take_turn, self._take_back)
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
        self._start_thread()

    def _start_thread(self) -> None:
        self._thread = threading.Thread(target=self._run, name="gateway-flusher", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Commits everything that waits, and ends the thread."""
        thread, self._thread = self._thread, None
        if thread is None:
            return
        with self._ready:
            self._stopping = True
            self._ready.notify()
        self.hurry()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._groups.stop)
        with self._ready:
            self._ready.notify()
        await loop.run_in_executor(None, thread.join)

    @property
    def alive(self) -> bool:
        """True while the threads run that should; for `/readyz`."""
        return (self._thread is None or self._thread.is_alive()) and self._groups.alive

    @property
    def _running(self) -> bool:
        """True between its start and its stop."""
        return self._thread is not None and not self._stopping

    def writer(self, fence: Fence, run_id: str) -> LegWriter:
        """Returns a writer for a leg of the running loop."""
        return LegWriter(self, fence, run_id)

    def wake(self, writer: LegWriter) -> None:
        """Notes that a writer has something to commit."""
        with self._ready:
            if not self._groups.holds(writer):
                self._enqueue(writer)

    def _enqueue(self, writer: LegWriter) -> None:
        """Gives the writer a place among those of a crowded group, or else of the next round."""
        if writer.group_id is not None and self._running and writer.crowded_until > time.monotonic():
            self._groups.join(writer, writer.group_id)
        elif writer not in self._dirty:
            self._dirty[writer] = None
            self._ready.notify()
            self._revive()

    def hurry(self) -> None:
        """Ends the pause between two commits, because a leg waits for the next one."""
        self._hurry.set()
        self._groups.hurry()
        if not self.alive:
            with self._ready:
                self._revive()

    def _revive(self) -> None:
        """Starts the thread again if it has died: every leg of the process waits for it."""
        if self._thread is not None and not self._thread.is_alive():
            logger.critical("flusher_died", do=DIED_ADVICE)
            FLUSHER_FAILURES.inc()
            self._start_thread()

    def _run(self) -> None:
        try:
            while writers := self._next_round():
                began = time.thread_time()
                try:
                    self._commit_round(writers)
                except BaseException as error:  # contains: a bug outside the commits, on which all legs here depend
                    logger.exception("flusher_failed", legs=len(writers))
                    FLUSHER_FAILURES.inc()
                    _fail_all(writers, error)
                    if not isinstance(error, Exception):
                        raise
                self._pause(self._pause_after(writers, time.thread_time() - began))
        finally:
            connections.close_all()

    def _next_round(self) -> list[LegWriter]:
        """Waits for writers whose turn it is and returns them; none once the flusher stops and nothing waits. Writers
        whose streams were locked stay in `_dirty` until their pause is over."""
        with self._ready:
            while True:
                now = time.monotonic()
                if turn := [writer for writer in self._dirty if writer.retry_at <= now]:
                    self._hurry.clear()
                    for writer in turn:
                        del self._dirty[writer]
                    return turn
                if not self._dirty and self._stopping and not self._groups.busy:
                    return []
                self._ready.wait(min(writer.retry_at for writer in self._dirty) - now if self._dirty else None)

    def _pause_after(self, writers: Sequence[LegWriter], spent: float) -> float:
        """Returns the pause in seconds after a commit that took `spent` seconds of processor time."""
        audience = self._hub.audience(writer.fence.stream_id for writer in writers)
        if audience >= AUDIENCE:
            return min(audience * DELIVERY_SECONDS, LONGEST_AUDIENCE_PAUSE_SECONDS)
        if len(writers) >= CROWD:
            return min(spent * (1 / PROCESSOR_SHARE - 1), LONGEST_PAUSE_SECONDS)
        return 0.0

    def _pause(self, seconds: float) -> None:
        if seconds:
            self._hurry.wait(seconds)

    def _commit_round(self, writers: Sequence[LegWriter]) -> None:
        """Takes, commits and settles. Failures are settled too, so that no leg waits for ever."""
        taken = {writer: writer.take() for writer in writers}
        submissions = [taken[writer] for writer in writers]
        try:
            outcome = self._commit(submissions)
        except Exception as error:  # contains: a bad row, a bug in one event, a lost database
            logger.warning("commit_failed", error=error_summary(error), legs=len(writers))
            outcome = self._commit_each(submissions, error)
        self._settle(taken, outcome)

    def _take_turn(self, group_id: int, take: Take) -> float:
        """Commits what the writers of a crowded group have by the time its row is free."""
        began = time.thread_time()
        taken: dict[LegWriter, Submission] = {}

        def wait_and_take() -> Commit:
            since = time.monotonic()
            locked = group_wait(group_id, WAIT_SECONDS)
            now = time.monotonic()
            for writer in take():
                taken[writer] = writer.take()
                if now - since > FREE_SECONDS:
                    writer.crowded_until = now + CROWDED_SECONDS
            return Commit(list(taken.values()), locked)

        try:
            try:
                outcome: Mapping[Fence, Result] = self._transaction(wait_and_take).outcome
            except Exception as error:  # contains: what `_commit_round` contains, and a group that stays locked
                if not taken:
                    return 0.0
                logger.warning("commit_failed", error=error_summary(error), legs=len(taken))
                outcome = self._commit_each(list(taken.values()), error)
            self._settle(taken, outcome)
        except BaseException as error:  # contains: a bug outside the commit, on which the legs of this group depend
            logger.exception("flusher_failed", legs=len(taken))
            FLUSHER_FAILURES.inc()
            _fail_all(list(taken), error)
        return self._pause_after(list(taken), time.thread_time() - began)

    def _take_back(self, more: Sequence[LegWriter], untaken: Sequence[LegWriter]) -> None:
        """Takes over the writers that had a turn and have more, or had none because their group stayed locked."""
        for writer in more:
            self._enqueue(writer)
        for writer in untaken:
            writer.crowded_until = 0.0
            writer.postpone(time.monotonic())
            self._enqueue(writer)
        self._ready.notify()

    def _settle(self, taken: Mapping[LegWriter, Submission], outcome: Mapping[Fence, Result]) -> None:
        for writer, submission in taken.items():
            result = outcome[writer.fence]
            if result is Outcome.BUSY or isinstance(result, GroupBusy):
                self._put_back(writer, submission, result)
            else:
                if isinstance(result, LeaseLost):
                    self.fenced += 1
                    FENCED.inc()
                writer.settle(result if isinstance(result, BaseException) else None)

    def _put_back(self, writer: LegWriter, submission: Submission, result: Outcome | GroupBusy) -> None:
        """Lets the events wait for the turn of their group, if that alone is locked, or else for a later round."""
        with self._ready:
            writer.put_back(submission.events)
            if isinstance(result, GroupBusy) and self._running:
                self._dirty.pop(writer, None)
                writer.group_id, writer.crowded_until = result.group_id, time.monotonic() + CROWDED_SECONDS
            else:
                writer.crowded_until = 0.0
                writer.postpone(time.monotonic())
            self.wake(writer)

    def _commit(self, submissions: Sequence[Submission]) -> dict[Fence, Result]:
        return self._transaction(lambda: Commit(submissions)).outcome

    def _transaction(self, begin: Callable[[], Commit]) -> Commit:
        executed = False
        try:
            with write_transaction():
                work = begin()
                began = time.perf_counter()
                work.execute()
                executed = True
        except (OperationalError, InterfaceError) as error:
            if executed and connection.vendor != "sqlite":
                raise OutcomeUnknown from error
            raise
        COMMIT_SECONDS.observe(time.perf_counter() - began)
        COMMIT_EVENTS.observe(work.count)
        self.commits += 1
        self.committed_events += work.count
        self._hub.publish(work.batches)
        return work

    def _commit_each(self, submissions: Sequence[Submission], error: Exception) -> dict[Fence, Result]:
        """Commits in one transaction per stream, so that only a stream that cannot be written fails.

        A commit that may have happened is not tried again: a retried leg drops the partial text, and a repeated batch
        would double it. Nor is one on a database that does not answer.
        """
        if isinstance(error, OutcomeUnknown) or (database_unavailable(error) and connection.vendor != "sqlite"):
            connections.close_all()
            return {submission.fence: error.__cause__ or error for submission in submissions}
        outcome: dict[Fence, Result] = {}
        for submission in submissions:
            outcome |= self._commit_single(submission)
        return outcome

    def _commit_single(self, submission: Submission) -> dict[Fence, Result]:
        try:
            return self._commit([submission])
        except Exception as error:  # contains: the one stream that cannot be written
            if may_succeed_again(error):
                # It certainly kept nothing, and the lease bounds how often it is tried.
                return {submission.fence: Outcome.BUSY}
            logger.error("stream_commit_failed", stream=submission.fence.stream_id, error=type(error).__name__)
            if isinstance(error, OutcomeUnknown):
                return {submission.fence: error.__cause__ or error}
            return {submission.fence: error}


def _fail_all(writers: Sequence[LegWriter], error: BaseException) -> None:
    """Settles what the round that failed has taken, so that no leg waits for ever."""
    for writer in writers:
        with contextlib.suppress(Exception):
            writer.settle(error if isinstance(error, Exception) else RuntimeError("The flusher ended."))


FLUSHER = process_wide(Flusher())
"""Process-wide instance, started by `Gateway`."""
