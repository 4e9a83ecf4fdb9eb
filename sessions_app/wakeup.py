"""Wake-ups: hints to the runner, or to the workers' queue, that a session has work.

In the embedded deployment the runner of the process is called after the commit. With workers, a job is deferred in the
same transaction. A process with neither (a management command beside an embedded gateway) sends nothing, and the sweep
finds the session. Wake-ups may be lost or repeated; the lease decides who runs the session.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple, Protocol

from django.db import transaction

from core_app.lifecycle import process_wide


class SessionKey(NamedTuple):
    """The primary key of a session, and its tenant's."""

    session_id: int
    tenant_id: int


class Queue(Protocol):
    """A durable job queue."""

    def defer(self, key: SessionKey) -> None:
        """Queues a job in the current transaction, unless one for this session already waits."""

    def find_queued(self, keys: Sequence[SessionKey]) -> Collection[SessionKey]:
        """Returns those of the sessions for which a job waits."""


class Wakeups:
    """The router of wake-ups to the job queue or the local runner. `listener` may be called from any thread."""

    def __init__(self) -> None:
        self.listener: Callable[[SessionKey], None] | None = None
        self.queue: Queue | None = None
        self.overflow: Callable[[SessionKey], None] | None = None
        """Set in workers: offers the session to an overflow slot (`Runner.try_overflow`)."""

    def announce(self, key: SessionKey) -> None:
        """Sends a wake-up when the current transaction commits. Call it last while holding the stream's lock."""
        if self.queue is not None:
            self.queue.defer(key)
        else:
            transaction.on_commit(lambda: self.notify(key))

    def notify(self, key: SessionKey) -> None:
        """Sends a wake-up now, for work that is already committed."""
        if self.queue is not None:
            self.queue.defer(key)
        elif self.listener is not None:
            self.listener(key)

    def notify_overdue(self, keys: Sequence[SessionKey]) -> None:
        """Sends wake-ups for work that nobody has taken up, and in a worker also tries overflow slots. Jobs that wait
        already are not queued again: each attempt would leave a dead row in the queue's table."""
        queued = self.queue.find_queued(keys) if self.queue is not None and keys else ()
        for key in keys:
            if key not in queued:
                self.notify(key)
            if self.queue is not None and self.overflow is not None:
                self.overflow(key)


WAKEUPS = process_wide(Wakeups())
