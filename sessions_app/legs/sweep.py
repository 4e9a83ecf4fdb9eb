"""The sweep: a round every few seconds that wakes sessions whose wake-up was lost, starts runs whose pause is over,
settles expired tool calls and ends runs that are past their limit.

It also removes outdated idempotency records once a minute. Every process has a sweep; an advisory lock lets one of them
work at a time.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from functools import partial

import structlog
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.backends.utils import CursorWrapper

from core_app import database
from core_app.database import advisory_lock
from core_app.lifecycle import Part, Periodic, process_wide
from core_app.log_lines import error_summary
from events_app.lease import free_streams_join, lease_bounds
from events_app.removal import GoOn
from sessions_app.dependents import DEPENDENTS
from sessions_app.housekeeping import CHORES, Chore
from sessions_app.services.decisions import calls_expire
from sessions_app.services.overtime import runs_overdue_end
from sessions_app.services.provider_wait import runs_resume
from sessions_app.wakeup import WAKEUPS, SessionKey
from tenants_app.services.idempotency import idempotency_purge

BATCH = 500

YIELD_SECONDS = 0.0005
"""Pause before each batch, so that threads that wait for the writer's lock get it."""

SWEEP_KEY = 0x7377656570
"""Key of the advisory lock that lets one process sweep: `sweep` in ASCII."""

PURGE_SECONDS = 60.0
"""Pause after a batch of idempotency records that was not full. After a full one, the next round takes another."""

logger = structlog.get_logger("gateway.sweep")


# The list of states repeats the condition of the indexes `run_workable` literally, because SQLite uses a partial index
# only then. With parameters, a round took 31 to 76 ms at 100,000 runs.
_WITH_WORK = f"""
    SELECT r.session_id, r.tenant_id FROM sessions_app_run r
    JOIN sessions_app_agentsession s ON s.id = r.session_id
    {free_streams_join("s.stream_id")}
    WHERE r.state IN ('queued', 'ready', 'running')
    AND NOT (r.state = 'queued' AND EXISTS (
        SELECT 1 FROM sessions_app_run w WHERE w.session_id = r.session_id AND w.state = 'waiting'))
"""  # noqa: S608  (the join is a constant)

SESSIONS_WITH_WORK = f"{_WITH_WORK} ORDER BY r.created_at LIMIT %s"
SESSIONS_WITH_WORK_OF_TENANT = f"{_WITH_WORK} AND r.tenant_id = %s ORDER BY r.created_at LIMIT %s"
NEXT_TENANT = """
    SELECT MIN(tenant_id) FROM sessions_app_run WHERE state IN ('queued', 'ready', 'running') AND tenant_id > %s
"""


def sessions_with_work(limit: int = BATCH) -> list[SessionKey]:
    """Returns sessions with a run to continue and no live lease, oldest first. When there are more than `limit`, it
    returns an equal share of each tenant, so that one that queues thousands does not hide the others."""
    bounds = lease_bounds()
    with connection.cursor() as cursor:
        cursor.execute(SESSIONS_WITH_WORK, [*bounds, limit])
        rows = cursor.fetchall()
        if len(rows) == limit:
            tenants = list(_tenants_with_work(cursor))
            rows = []
            for tenant_id in tenants:
                cursor.execute(SESSIONS_WITH_WORK_OF_TENANT, [*bounds, tenant_id, max(1, limit // len(tenants))])
                rows += cursor.fetchall()
    return list(dict.fromkeys(SessionKey(*row) for row in rows))


def _tenants_with_work(cursor: CursorWrapper) -> Iterator[int]:
    """Yields the tenants by one index look-up each. A window function over 100,000 runs took two seconds."""
    tenant_id = 0
    while tenant_id is not None:
        cursor.execute(NEXT_TENANT, [tenant_id])
        (tenant_id,) = cursor.fetchone()
        if tenant_id is not None:
            yield tenant_id


def sweep(go_on: GoOn = lambda: True) -> int:
    """Runs one round, unless another process is sweeping. Returns the number of sessions woken.

    The round lasts until no tool call is expired, because thousands may expire at once. During it, sessions with work
    are still looked for every GATEWAY_SWEEP_SECONDS. `go_on` is asked before each session.
    """
    with advisory_lock(SWEEP_KEY) as mine:
        if not mine:
            return 0
        woken, failed = _wake_sessions(), set[int]()
        runs_overdue_end(go_on)
        DEPENDENTS.sweep(go_on)
        while go_on():
            interval = _Interval(go_on)
            calls_expire(go_on=interval, failed=failed)
            if not interval.over:
                break
            woken += _wake_sessions()
    return woken


class _Interval:
    """A `GoOn` that ends after GATEWAY_SWEEP_SECONDS, counted from its first call; `over` tells whether it has."""

    def __init__(self, go_on: GoOn) -> None:
        self._go_on = go_on
        self._until: float | None = None
        self.over = False

    def __call__(self) -> bool:
        if self._until is None:
            # From the first session, so that every interval settles at least one.
            self._until = time.monotonic() + settings.GATEWAY_SWEEP_SECONDS
            return self._go_on()
        self.over = time.monotonic() >= self._until
        return not self.over and self._go_on()


def _wake_sessions() -> int:
    runs_resume()
    found = sessions_with_work()
    WAKEUPS.notify_overdue(found)
    return len(found)


class Sweep(Part):
    """The part that sweeps at the start and then every GATEWAY_SWEEP_SECONDS, and runs chores in the embedded
    deployment."""

    def __init__(self) -> None:
        self._loops: list[Periodic] = []
        self._ending = threading.Event()
        self._purge_at = 0.0

    async def start(self) -> None:
        """Starts the loops. The first round comes at once, to take up what a former process left behind."""
        self._ending.clear()
        pause = lambda: settings.GATEWAY_SWEEP_SECONDS  # noqa: E731
        self._loops = [Periodic("sweep", self._round, pause, failed=_log_failure)]
        if settings.GATEWAY_RUNNER == "inline":
            # In loops of their own, because a round must not wait for them. With workers they are jobs.
            self._loops += [Periodic(chore.name, partial(self._chore, chore), chore.seconds) for chore in CHORES]
        for loop in self._loops:
            await loop.start()

    async def drain(self) -> None:
        """Stops, because a draining process starts nothing new."""
        await self.stop()

    async def stop(self) -> None:
        """Stops the loops. A thread in the middle of a batch ends after that batch."""
        self._ending.set()
        loops, self._loops = self._loops, []
        await asyncio.gather(*(loop.stop() for loop in loops))

    def may_continue(self) -> bool:
        """True until the sweep stops: the `GoOn` of chores and rounds, called in their threads. Takes YIELD_SECONDS."""
        return not self._ending.wait(YIELD_SECONDS)

    async def _round(self) -> None:
        await database.run_background(database.read_only_check)
        await database.run_background(sweep, self.may_continue)
        await self.purge()

    async def _chore(self, chore: Chore) -> None:
        await database.run_background(chore.run, self.may_continue)

    async def purge(self) -> None:
        """Removes old idempotency records, at most once a minute."""
        if time.monotonic() >= self._purge_at and await database.run_background(idempotency_purge, limit=BATCH) < BATCH:
            self._purge_at = time.monotonic() + PURGE_SECONDS


def _log_failure(error: Exception) -> None:
    """Logs a failed round. A database error has no traceback, because an outage would repeat it in every round."""
    if isinstance(error, DatabaseError):
        logger.warning("sweep_failed", error=error_summary(error))
    else:
        logger.error("sweep_failed", exc_info=error)


SWEEP = process_wide(Sweep())
"""Process-wide instance, started by `Gateway`."""
