"""The Procrastinate tasks of workers. Procrastinate imports this module where it is installed (PostgreSQL only).

Queued jobs refer to tasks by name, so the names must not change.
"""

from __future__ import annotations

import structlog
from procrastinate.contrib.django import app
from procrastinate.jobs import Status

from core_app import database
from sessions_app.housekeeping import CHORES, Chore
from sessions_app.legs.jobs import HOUSEKEEPING, LEGS, WAKE
from sessions_app.legs.runner import RUNNER
from sessions_app.legs.sweep import SWEEP
from sessions_app.wakeup import SessionKey

logger = structlog.get_logger("gateway.jobs")


@app.task(name=WAKE, queue=LEGS)
async def wake(session_id: int, tenant_id: int) -> None:
    """Runs the legs of a session. The job occupies its slot until they have ended."""
    await RUNNER.run(SessionKey(session_id, tenant_id))


@app.periodic(cron="* * * * *")
@app.task(name="housekeeping.jobs", queue=HOUSEKEEPING, queueing_lock="housekeeping.jobs")
async def stalled_jobs_remove(timestamp: int) -> None:
    """Removes the jobs of workers that died. The sweep has already taken up their sessions."""
    manager = app.job_manager
    for job in await manager.get_stalled_jobs():
        await manager.finish_job(job, status=Status.FAILED, delete_job=True)
        logger.info("stalled_job_removed", job=job.id, task=job.task_name)


def _register(chore: Chore) -> None:
    """Registers a chore as a periodic job."""
    name = f"housekeeping.{chore.name}"

    async def run(timestamp: int) -> None:
        await database.run_background(chore.run, SWEEP.may_continue)

    app.periodic(cron=chore.cron)(app.task(name=name, queue=HOUSEKEEPING, queueing_lock=name)(run))


for _chore in CHORES:
    _register(_chore)
