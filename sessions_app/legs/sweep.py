"""The sweep: what every process looks for every few seconds, because a wake-up may be lost and time passes.

It finds runs with work and no live lease, and settles calls that nobody answered in time; once a minute it forgets
the answers that no Idempotency-Key can ask for any more.
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
from core_app.database import advisory_lock, database_now
from core_app.lifecycle import Part, Periodic, process_wide
from core_app.log_lines import error_summary
from events_app.lease import free_streams_join
from events_app.removal import GoOn
from sessions_app.housekeeping import CHORES, Chore
from sessions_app.services.decisions import calls_expire
from sessions_app.wakeup import WAKEUPS, Work
from tenants_app.services.idempotency import idempotency_purge

BATCH = 500

GIVE_WAY_SECONDS = 0.0005

SWEEP_KEY = 0x7377656570
"""`sweep` in ASCII: the advisory lock that lets one of several processes work."""

PURGE_SECONDS = 60.0
"""Records are kept for a day; a full batch is followed by the next one in the next round."""

log = structlog.get_logger("gateway.sweep")


# Its list is the condition of the indexes `run_workable`, to the letter: SQLite uses a partial index only then. Read
# with parameters, this took 31 to 76 ms a round at 100,000 runs.
_WITH_WORK = f"""
    SELECT r.session_id, r.tenant_id FROM sessions_app_run r
    JOIN sessions_app_agentsession s ON s.id = r.session_id
    {free_streams_join("s.stream_id")}
    WHERE r.state IN ('queued', 'ready', 'running')
    AND NOT (r.state = 'queued' AND EXISTS (
        SELECT 1 FROM sessions_app_run w WHERE w.session_id = r.session_id AND w.state = 'waiting'))
"""  # noqa: S608  (the join is a constant)

WITH_WORK = f"{_WITH_WORK} ORDER BY r.created_at LIMIT %s"
WITH_WORK_OF_TENANT = f"{_WITH_WORK} AND r.tenant_id = %s ORDER BY r.created_at LIMIT %s"
NEXT_TENANT = """
    SELECT MIN(tenant_id) FROM sessions_app_run WHERE state IN ('queued', 'ready', 'running') AND tenant_id > %s
"""


def sessions_with_work(limit: int = BATCH) -> list[Work]:
    """Sessions that have a run to go on with and no live lease, oldest first; where there are more than `limit`, so
    many of every tenant: one that queues thousands must not hide the others' from the only one who looks."""
    moment = database_now()
    with connection.cursor() as cursor:
        cursor.execute(WITH_WORK, [moment, limit])
        rows = cursor.fetchall()
        if len(rows) == limit:
            tenants = list(_tenants_with_work(cursor))
            rows = []
            for tenant_id in tenants:
                cursor.execute(WITH_WORK_OF_TENANT, [moment, tenant_id, max(1, limit // len(tenants))])
                rows += cursor.fetchall()
    return list(dict.fromkeys(Work(*row) for row in rows))


def _tenants_with_work(cursor: CursorWrapper) -> Iterator[int]:
    """Each by a look at the index: their runs may be a hundred thousand (a window over those took two seconds)."""
    tenant_id = 0
    while tenant_id is not None:
        cursor.execute(NEXT_TENANT, [tenant_id])
        (tenant_id,) = cursor.fetchone()
        if tenant_id is not None:
            yield tenant_id


def sweep(go_on: GoOn = lambda: True) -> int:
    """One round, when it is this process's turn; how many sessions were woken.

    It goes on until no call's wait is over: of thousands that end at once each would otherwise wait for its round.
    Meanwhile it looks for runs with work as often as ever, and asks `go_on` between one session and the next.
    """
    with advisory_lock(SWEEP_KEY) as mine:
        if not mine:
            return 0
        woken, failed = _remind(), set[int]()
        while go_on():
            part = _Part(go_on)
            calls_expire(go_on=part, failed=failed)
            if not part.over:
                break
            woken += _remind()
    return woken


class _Part:
    """The part of a round that one pause between two rounds would take; asked whether it goes on."""

    def __init__(self, go_on: GoOn) -> None:
        self._go_on = go_on
        self._until: float | None = None
        self.over = False

    def __call__(self) -> bool:
        if self._until is None:
            # From the first session on, so that every part gets something done.
            self._until = time.monotonic() + settings.GATEWAY_SWEEP_SECONDS
            return self._go_on()
        self.over = time.monotonic() >= self._until
        return not self.over and self._go_on()


def _remind() -> int:
    found = sessions_with_work()
    for work in found:
        WAKEUPS.remind(work)
    return len(found)


class Sweep(Part):
    """A `core_app.lifecycle.Part` that sweeps at the start and every GATEWAY_SWEEP_SECONDS."""

    def __init__(self) -> None:
        self._loops: list[Periodic] = []
        self._ending = threading.Event()
        self._purge_at = 0.0

    async def start(self) -> None:
        """Begins with a round at once: what a former process left is taken up."""
        self._ending.clear()
        pause = lambda: settings.GATEWAY_SWEEP_SECONDS  # noqa: E731
        self._loops = [Periodic("sweep", self._round, pause, failed=_log_failure)]
        if settings.GATEWAY_RUNNER == "inline":
            # Beside the rounds, which must not wait for them; with workers they are jobs.
            self._loops += [Periodic(chore.name, partial(self._chore, chore), chore.seconds) for chore in CHORES]
        for loop in self._loops:
            await loop.start()

    async def drain(self) -> None:
        """Ends the rounds: a draining process begins nothing."""
        await self.stop()

    async def stop(self) -> None:
        """Ends the loops; a thread that removes or folds ends with its batch."""
        self._ending.set()
        loops, self._loops = self._loops, []
        await asyncio.gather(*(loop.stop() for loop in loops))

    def goes_on(self) -> bool:
        """Whether what works in batches may begin another one; asked by the threads that do.

        It takes GIVE_WAY_SECONDS: a lock that is taken again at once goes to none of those that wait for it.
        """
        return not self._ending.wait(GIVE_WAY_SECONDS)

    async def _round(self) -> None:
        await database.run(sweep, self.goes_on)
        await self.purge()

    async def _chore(self, chore: Chore) -> None:
        await database.run(chore.run, self.goes_on)

    async def purge(self) -> None:
        """Removes old idempotency records, at most once a minute."""
        if time.monotonic() >= self._purge_at and await database.run(idempotency_purge, limit=BATCH) < BATCH:
            self._purge_at = time.monotonic() + PURGE_SECONDS


def _log_failure(error: Exception) -> None:
    """One session's broken row must not end the sweep of all the others; without a database nothing more is to say."""
    if isinstance(error, DatabaseError):
        log.warning("sweep_failed", error=error_summary(error))
    else:
        log.error("sweep_failed", exc_info=error)


SWEEP = process_wide(Sweep())
