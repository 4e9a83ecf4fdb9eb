"""How a committed change reaches whoever runs legs: "this session has work".

In one process the runner listens and is told after the commit. With workers a queue takes a job in the same
transaction. A process with neither (a command beside an embedded gateway) tells nobody, and the sweep finds the
work. A wake-up is a hint: the lease decides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol

from django.db import transaction

from core_app.lifecycle import process_wide


class Work(NamedTuple):
    """A session that has work, and whose it is."""

    session_id: int
    tenant_id: int


class Queue(Protocol):
    """Jobs that outlive the process that made them."""

    def defer(self, work: Work) -> None:
        """Queues a job in the present transaction, unless one for this session waits already."""


class Wakeups:
    """The one place where announcements arrive; `listener` may be called from any thread."""

    def __init__(self) -> None:
        self.listener: Callable[[Work], None] | None = None
        self.queue: Queue | None = None
        self.guest: Callable[[Work], None] | None = None
        """Of a worker: takes what the queue may bring too late (`Runner.offer`)."""

    def announce(self, work: Work) -> None:
        """Tells of work that the present transaction makes; the last step of whoever holds the stream's lock."""
        if self.queue is not None:
            self.queue.defer(work)
        else:
            transaction.on_commit(lambda: self.tell(work))

    def tell(self, work: Work) -> None:
        """Tells of work that is committed already."""
        if self.queue is not None:
            self.queue.defer(work)
        elif self.listener is not None:
            self.listener(work)

    def remind(self, work: Work) -> None:
        """Tells of work that nobody has taken up yet; where a queue brings it, whoever works for the queue here too."""
        self.tell(work)
        if self.queue is not None and self.guest is not None:
            self.guest(work)


WAKEUPS = process_wide(Wakeups())
