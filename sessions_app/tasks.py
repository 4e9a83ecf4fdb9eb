"""What workers do; Procrastinate finds this module when it is installed (PostgreSQL only)."""

from __future__ import annotations

import structlog
from procrastinate.contrib.django import app
from procrastinate.jobs import Status

from core_app import database
from sessions_app.legs.jobs import HOUSEKEEPING, LEGS, WAKE
from sessions_app.legs.runner import RUNNER
from sessions_app.legs.sweep import SWEEP, fold_turn, retention_turn
from sessions_app.wakeup import Work

log = structlog.get_logger("gateway.jobs")


@app.task(name=WAKE, queue=LEGS)
async def wake(session_id: int, tenant_id: int) -> None:
    """Runs the legs of a session; the job's slot is taken for as long."""
    await RUNNER.run(Work(session_id, tenant_id))


@app.periodic(cron="* * * * *")
@app.task(name="housekeeping.jobs", queue=HOUSEKEEPING, queueing_lock="housekeeping.jobs")
async def stalled_jobs_remove(timestamp: int) -> None:
    """Removes the jobs of workers that died: their sessions have been taken up by the sweep long since."""
    manager = app.job_manager
    for job in await manager.get_stalled_jobs():
        await manager.finish_job(job, status=Status.FAILED, delete_job=True)
        log.info("stalled_job_removed", job=job.id, task=job.task_name)


@app.periodic(cron="17 * * * *")
@app.task(name="housekeeping.retention", queue=HOUSEKEEPING, queueing_lock="housekeeping.retention")
async def retention(timestamp: int) -> None:
    """Removes what tenants no longer keep."""
    await database.run(retention_turn, SWEEP.goes_on)


@app.periodic(cron="* * * * * */15")
@app.task(name="housekeeping.usage", queue=HOUSEKEEPING, queueing_lock="housekeeping.usage")
async def usage(timestamp: int) -> None:
    """Folds the ledger's new rows into their days."""
    await database.run(fold_turn, SWEEP.goes_on)
