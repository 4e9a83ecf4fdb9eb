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
from collections.abc import Sequence

import structlog
from django.db import InterfaceError, OperationalError, connection, connections

from core_app.database import database_unavailable, may_succeed_again, write_transaction
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from core_app.metrics import COMMIT_EVENTS, COMMIT_SECONDS, FENCED, FLUSHER_FAILURES
from events_app.commit import Commit, Outcome, Submission
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

DIED_ADVICE = "The thread that commits events ended and was started again; a traceback before this line says why."

logger = structlog.get_logger("gateway.flusher")


class OutcomeUnknown(Exception):
    """A commit failed on the way, and may have happened. The cause is the database's error."""


class Flusher(Part):
    """The thread that commits, and the set of writers that have something to commit."""

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
        await asyncio.get_running_loop().run_in_executor(None, thread.join)

    @property
    def alive(self) -> bool:
        """True while the thread runs that should; for `/readyz`."""
        return self._thread is None or self._thread.is_alive()

    def writer(self, fence: Fence, run_id: str) -> LegWriter:
        """Returns a writer for a leg of the running loop."""
        return LegWriter(self, fence, run_id)

    def wake(self, writer: LegWriter) -> None:
        """Notes that a writer has something to commit."""
        with self._ready:
            if writer not in self._dirty:
                self._dirty[writer] = None
                self._ready.notify()
                self._revive()

    def hurry(self) -> None:
        """Ends the pause between two commits, because a leg waits for the next one."""
        self._hurry.set()
        if not self.alive:
            with self._ready:
                self._revive()

    def _revive(self) -> None:
        """Starts the thread again if it has died: every leg of the process waits for it."""
        if not self.alive:
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
                if not self._dirty and self._stopping:
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
        for writer in writers:
            result = outcome[writer.fence]
            if result is Outcome.BUSY:
                writer.postpone(time.monotonic())
                writer.put_back(taken[writer].events)
                self.wake(writer)
            else:
                if isinstance(result, LeaseLost):
                    self.fenced += 1
                    FENCED.inc()
                writer.settle(result if isinstance(result, BaseException) else None)

    def _commit(self, submissions: Sequence[Submission]) -> dict[Fence, Outcome | BaseException]:
        work = Commit(submissions)
        executed = False
        try:
            with COMMIT_SECONDS.time(), write_transaction():
                work.execute()
                executed = True
        except (OperationalError, InterfaceError) as error:
            if executed and connection.vendor != "sqlite":
                raise OutcomeUnknown from error
            raise
        COMMIT_EVENTS.observe(work.count)
        self.commits += 1
        self.committed_events += work.count
        self._hub.publish(work.batches)
        return work.outcome

    def _commit_each(self, submissions: Sequence[Submission], error: Exception) -> dict[Fence, Outcome | BaseException]:
        """Commits in one transaction per stream, so that only a stream that cannot be written fails.

        A commit that may have happened is not tried again: a retried leg drops the partial text, and a repeated batch
        would double it. Nor is one on a database that does not answer.
        """
        if isinstance(error, OutcomeUnknown) or (database_unavailable(error) and connection.vendor != "sqlite"):
            connections.close_all()
            return {submission.fence: error.__cause__ or error for submission in submissions}
        outcome: dict[Fence, Outcome | BaseException] = {}
        for submission in submissions:
            outcome |= self._commit_single(submission)
        return outcome

    def _commit_single(self, submission: Submission) -> dict[Fence, Outcome | BaseException]:
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
