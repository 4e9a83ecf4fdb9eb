"""Slots that tenants share: threads of the database, threads of requests.

A tenant occupies at most its share of the slots (GATEWAY_TENANT_SHARE), and one session at most GATEWAY_SESSION_THREADS
of them, so requests that wait for a locked session leave slots to everybody else. What exceeds the share waits, and
tenants are served in turn. Of what clients ask, at most GATEWAY_MAX_WAITING_REQUESTS of a tenant wait; the next one is
refused.
"""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import NamedTuple

from django.conf import settings

from core_app.errors import Unavailable
from core_app.metrics import WAITING_REFUSED

RETRY_AFTER_SECONDS = 1


class Claim(NamedTuple):
    """The tenant that a slot is counted for, and the session. Without a tenant the gateway itself is meant: no share
    and no bound apply to it."""

    tenant_id: int | None = None
    session: Hashable = None


GATEWAY = Claim()

NOBODY = 0
"""The share of callers without a tenant: sign-in pages, passwords, the admin, late results of callbacks."""


class Waiter:
    """Somebody who waits for a slot; `start` is called once, when there is one."""

    __slots__ = ("claim", "start")

    def __init__(self, claim: Claim, start: Callable[[], None]) -> None:
        self.claim = claim
        self.start = start


class Shares:
    """The slots and those who wait for them. May be used from any thread; `start` is called without the guard.

    `bounded`: whether too many who wait are refused. Legs are not, because their number has a limit of its own.
    """

    def __init__(self, name: str, slots: Callable[[], int], *, bounded: bool = True) -> None:
        self.name = name
        self._slots = slots
        self._bounded = bounded
        self._guard = threading.Lock()
        self._busy = 0
        self._of_tenant: Counter[int] = Counter()
        self._of_session: Counter[Claim] = Counter()
        self._waiting: OrderedDict[int | None, deque[Waiter]] = OrderedDict()

    @property
    def waiting(self) -> int:
        """The number of those who wait."""
        with self._guard:
            return sum(map(len, self._waiting.values()))

    def enter(self, waiter: Waiter) -> None:
        """Starts the waiter, now or when a slot is free. Raises Unavailable when too many of its tenant wait."""
        tenant_id = waiter.claim.tenant_id
        with self._guard:
            queue = self._waiting.setdefault(tenant_id, deque())
            if self._bounded and tenant_id is not None and len(queue) >= settings.GATEWAY_MAX_WAITING_REQUESTS:
                WAITING_REFUSED.labels(self.name).inc()
                raise Unavailable(
                    "Too many requests of this tenant wait (GATEWAY_MAX_WAITING_REQUESTS); try again.",
                    retry_after=RETRY_AFTER_SECONDS,
                )
            queue.append(waiter)
            started = self._take()
        _start_all(started)

    def leave(self, claim: Claim) -> None:
        """Frees the slot of a waiter of this claim that was started."""
        with self._guard:
            self._busy -= 1
            tenant_id = claim.tenant_id
            if tenant_id is not None:
                self._of_tenant[tenant_id] -= 1
                if not self._of_tenant[tenant_id]:
                    del self._of_tenant[tenant_id]
            if claim.session is not None:
                self._of_session[claim] -= 1
                if not self._of_session[claim]:
                    del self._of_session[claim]
            started = self._take()
        _start_all(started)

    def withdraw(self, waiter: Waiter) -> bool:
        """Takes back a waiter that was not started. Returns False for one that was: it has to `leave`."""
        with self._guard:
            queue = self._waiting.get(waiter.claim.tenant_id)
            if queue is None or waiter not in queue:
                return False
            queue.remove(waiter)
            if not queue:
                del self._waiting[waiter.claim.tenant_id]
            return True

    def _take(self) -> list[Waiter]:
        """Removes those who may start from the queues, while there are free slots."""
        taken = []
        slots = self._slots()
        while self._waiting and self._busy < slots and (waiter := self._next(slots)) is not None:
            self._busy += 1
            if waiter.claim.tenant_id is not None:
                self._of_tenant[waiter.claim.tenant_id] += 1
            if waiter.claim.session is not None:
                self._of_session[waiter.claim] += 1
            taken.append(waiter)
        return taken

    def _next(self, slots: int) -> Waiter | None:
        """Returns the next one, of one tenant after the other."""
        share = tenant_share(slots)
        for tenant_id in list(self._waiting):
            if tenant_id is not None and self._of_tenant[tenant_id] >= share:
                continue
            queue = self._waiting[tenant_id]
            for waiter in queue:
                if waiter.claim.session is None or self._of_session[waiter.claim] < settings.GATEWAY_SESSION_THREADS:
                    queue.remove(waiter)
                    if queue:
                        self._waiting.move_to_end(tenant_id)
                    else:
                        del self._waiting[tenant_id]
                    return waiter
        return None


def tenant_share(slots: int) -> int:
    """Returns how many of the slots one tenant may occupy, one at least."""
    return max(1, math.ceil(slots * settings.GATEWAY_TENANT_SHARE))


def _start_all(waiters: list[Waiter]) -> None:
    for waiter in waiters:
        waiter.start()
