"""Jobs on PostgreSQL: how a session's work reaches a worker, and how a worker takes it (design, decision 4).

The queue only wakes: a job that finds a live lease returns, its holder goes on while there is key. So jobs carry
no `lock` (a killed worker's would block its session for as long as nobody missed it), are deduplicated while they
wait (`queueing_lock`), and one that was lost costs a sweep. Periodic housekeeping has a queue of its own, because
long jobs would starve it.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog
from django.conf import settings
from django.db import transaction
from procrastinate import App
from procrastinate.contrib.django import app
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.psycopg_connector import PsycopgConnector

from core_app.database import write_transaction
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from core_app.postgresql import PromptAsyncConnection
from sessions_app.wakeup import SessionKey

LEGS = "legs"
HOUSEKEEPING = "housekeeping"
WAKE = "sessions.wake"

POLL_SECONDS = 5.0
STALLED_SECONDS = 60.0
RESTART_SECONDS = 1.0
"""Before a worker that ended is begun again."""

logger = structlog.get_logger("gateway.jobs")


class JobQueue:
    """`sessions_app.wakeup.Queue` on Procrastinate."""

    def defer(self, key: SessionKey) -> None:
        """In a savepoint: a job that is there already must not cost the transaction that asks for it again."""
        task = app.configure_task(WAKE, queue=LEGS, queueing_lock=f"session-{key.session_id}")
        with write_transaction(), contextlib.suppress(AlreadyEnqueued), transaction.atomic():
            task.defer(session_id=key.session_id, tenant_id=key.tenant_id)


class JobWorkers(Part):
    """A `core_app.lifecycle.Part`: the workers of this process, one for legs and one for housekeeping."""

    def __init__(self) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._worker_app: App | None = None

    async def start(self) -> None:
        """Begins to take jobs."""
        # As DjangoConnector.get_worker_connector makes it, but for the class.
        connector = PsycopgConnector(kwargs=connector_params(), connection_class=PromptAsyncConnection)
        self._worker_app = app.with_connector(connector)
        await self._worker_app.open_async()
        self._tasks = [
            asyncio.create_task(self._run(LEGS, settings.GATEWAY_WORKER_CONCURRENCY), name="jobs-legs"),
            asyncio.create_task(self._run(HOUSEKEEPING, 1), name="jobs-housekeeping"),
        ]

    async def drain(self) -> None:
        """Takes no further job. What runs is the runner's to end."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """Ends the workers."""
        await self.drain()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        worker_app, self._worker_app = self._worker_app, None
        if worker_app is not None:
            await worker_app.close_async()

    async def _run(self, queue: str, concurrency: int) -> None:
        """One worker; begun again when its database went away, which it raises or, when its listener is the first to
        notice, ends for without a word."""
        assert self._worker_app is not None
        while True:
            try:
                await self._worker_app.run_worker_async(
                    queues=[queue],
                    name=f"{queue}-worker",
                    concurrency=concurrency,
                    fetch_job_polling_interval=POLL_SECONDS,
                    stalled_worker_timeout=STALLED_SECONDS,
                    shutdown_graceful_timeout=settings.GATEWAY_DRAIN_SECONDS,
                    delete_jobs="always",
                    install_signal_handlers=False,
                )
                logger.warning("job_worker_ended", queue=queue)
            except Exception as error:  # contains: whatever the queue's database connection raises
                logger.warning("job_worker_failed", queue=queue, error=error_summary(error))
            await asyncio.sleep(RESTART_SECONDS)


JOBS = process_wide(JobWorkers())
