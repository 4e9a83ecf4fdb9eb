"""The job queue of the distributed deployment: Procrastinate on PostgreSQL, and the workers of this process.

A job only wakes a worker; the lease decides who runs the session. A job that finds a live lease returns, because the
holder continues while the session has work. Jobs are deduplicated while they wait (`queueing_lock`) and have no
`lock`: that of a killed worker would block its session until the worker is missed. A lost job costs one sweep.
Workers hear of jobs over Redis (`sessions_app.legs.job_hints`). Housekeeping has a queue of its own, because long jobs
would starve it, and a slot for each of its jobs, so that none waits for another.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.db import connection, transaction
from procrastinate import App
from procrastinate.contrib.django import app
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.psycopg_connector import PsycopgConnector

from core_app.database import write_transaction
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from core_app.postgresql import PromptAsyncConnection
from sessions_app.housekeeping import CHORES
from sessions_app.legs.job_hints import JOB_HINTS
from sessions_app.wakeup import SessionKey

LEGS = "legs"
HOUSEKEEPING = "housekeeping"
WAKE = "sessions.wake"

HOUSEKEEPING_POLL_SECONDS = 5.0
HOUSEKEEPING_SLOTS = len(CHORES) + 1
"""A slot for each chore, and one for the removal of stalled jobs."""

STALLED_SECONDS = 60.0
RESTART_SECONDS = 1.0
"""Pause before a worker that ended is started again."""

_JOB_INSERTED = '{"type": "job_inserted", "job_id": 0}'

logger = structlog.get_logger("gateway.jobs")


class JobQueue:
    """The `sessions_app.wakeup.Queue` on Procrastinate."""

    def defer(self, key: SessionKey) -> None:
        """Defers a job for the session. The savepoint keeps the caller's transaction usable when such a job already
        waits."""
        task = app.configure_task(WAKE, queue=LEGS, queueing_lock=_queueing_lock(key))
        with write_transaction(), contextlib.suppress(AlreadyEnqueued), transaction.atomic():
            transaction.on_commit(JOB_HINTS.send)
            task.defer(session_id=key.session_id, tenant_id=key.tenant_id)

    def find_queued(self, keys: Sequence[SessionKey]) -> Collection[SessionKey]:
        """Returns those of the sessions for which a job waits."""
        locks = {_queueing_lock(key): key for key in keys}
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo' AND queueing_lock = ANY(%s)",
                [list(locks)],
            )
            return {locks[lock] for (lock,) in cursor.fetchall()}


class HintedConnector(PsycopgConnector):
    """The workers' connector, which listens for hints over Redis instead of the database's notifications."""

    async def listen_notify(self, on_notification: Any, channels: Iterable[str]) -> None:
        """Passes hints on as notifications of a new job, until it is cancelled."""
        (channel,) = channels
        await JOB_HINTS.listen(partial(on_notification, channel=channel, payload=_JOB_INSERTED))


def _queueing_lock(key: SessionKey) -> str:
    return f"session-{key.session_id}"


class JobWorkers(Part):
    """The Procrastinate workers of this process: one for legs and one for housekeeping."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._worker_app: App | None = None

    async def start(self) -> None:
        """Connects to the queue and starts both workers."""
        # The same as DjangoConnector.get_worker_connector, except for the connection class.
        connector = HintedConnector(kwargs=connector_params(), connection_class=PromptAsyncConnection)
        self._worker_app = app.with_connector(connector)
        await self._worker_app.open_async()
        self._tasks = [
            asyncio.create_task(self._run(LEGS, settings.GATEWAY_WORKER_CONCURRENCY), name="jobs-legs"),
            asyncio.create_task(self._run(HOUSEKEEPING, HOUSEKEEPING_SLOTS), name="jobs-housekeeping"),
        ]

    async def drain(self) -> None:
        """Takes no further job. Legs that run are ended by the runner."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """Ends the workers and closes their connection."""
        await self.drain()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        worker_app, self._worker_app = self._worker_app, None
        if worker_app is not None:
            await worker_app.close_async()

    async def _run(self, queue: str, concurrency: int) -> None:
        """Runs one worker, and starts it again whenever it ends. When the database goes away, a worker raises an error
        or, if its listener notices first, returns without one."""
        assert self._worker_app is not None
        while True:
            try:
                await self._worker_app.run_worker_async(
                    queues=[queue],
                    name=f"{queue}-worker",
                    concurrency=concurrency,
                    fetch_job_polling_interval=_poll_seconds(queue),
                    listen_notify=queue == LEGS,
                    stalled_worker_timeout=STALLED_SECONDS,
                    shutdown_graceful_timeout=settings.GATEWAY_DRAIN_SECONDS,
                    delete_jobs="always",
                    install_signal_handlers=False,
                )
                logger.warning("job_worker_ended", queue=queue)
            except Exception as error:  # contains: any error of the queue's database connection
                logger.warning("job_worker_failed", queue=queue, error=error_summary(error))
            await asyncio.sleep(RESTART_SECONDS)


def _poll_seconds(queue: str) -> float:
    """Returns the pause between two looks at the queue, which find what no hint told of."""
    seconds: float = settings.GATEWAY_SWEEP_SECONDS if queue == LEGS else HOUSEKEEPING_POLL_SECONDS
    return seconds


JOBS = process_wide(JobWorkers())
"""Process-wide instance, started by `Gateway` in a worker."""
