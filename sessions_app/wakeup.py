"""How a committed change reaches whoever runs legs: "this session has work".

In one process the runner listens and is told after the commit. With workers a queue takes a job in the same
transaction. A process with neither (a command beside an embedded gateway) tells nobody, and the sweep finds the
key. A wake-up is a hint: the lease decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from django.db import transaction

from core_app.lifecycle import process_wide


class SessionKey(NamedTuple):
    """A session that has key, and whose it is."""

    session_id: int
    tenant_id: int


class Queue(Protocol):
    """Jobs that outlive the process that made them."""

    def defer(self, key: SessionKey) -> None:
        """Queues a job in the present transaction, unless one for this session waits already."""


class Wakeups:
    """The one place where announcements arrive; `listener` may be called from any thread."""

    def __init__(self) -> None:
        self.listener: Callable[[SessionKey], None] | None = None
        self.queue: Queue | None = None
        self.overflow: Callable[[SessionKey], None] | None = None
        """Of a worker: takes what the queue may bring too late (`Runner.try_overflow`)."""

    def announce(self, key: SessionKey) -> None:
        """Tells of work that the present transaction makes; the last step of whoever holds the stream's lock."""
        if self.queue is not None:
            self.queue.defer(key)
        else:
            transaction.on_commit(lambda: self.notify(key))

    def notify(self, key: SessionKey) -> None:
        """Tells of work that is committed already."""
        if self.queue is not None:
            self.queue.defer(key)
        elif self.listener is not None:
            self.listener(key)

    def notify_overdue(self, key: SessionKey) -> None:
        """Tells of work that nobody has taken up yet; where a queue brings it, whoever works for the queue here too."""
        self.notify(key)
        if self.queue is not None and self.overflow is not None:
            self.overflow(key)


WAKEUPS = process_wide(Wakeups())
