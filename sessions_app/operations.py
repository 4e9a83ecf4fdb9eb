"""The state of runs and their workers, for the pages of operators. `tenant_id` None means all tenants, which is for
the gateway's own operator only: the caller decides by scope.

Every query reads a bounded number of rows through an index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.db import connection
from django.db.models import Count, Max

from core_app import clock
from core_app.visible_text import visible_text
from sessions_app.models import Run, RunState

RECENT = timedelta(days=7)
MAX_REASON = 300
NEWEST_ROWS = 5_000
LISTED = 100

# The exact condition of the index of unfinished runs: with parameters, SQLite would not use the index.
_UNFINISHED = "SELECT state, COUNT(*) FROM sessions_app_run WHERE state IN ('queued', 'ready', 'running', 'waiting')"


@dataclass(frozen=True, slots=True)
class RunFailure:
    """A run that failed: its code and the sentence that its clients got."""

    run_id: str
    session_id: str
    tenant: str
    code: str
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class LegOwner:
    """A process that executes runs, by the name in its leases, and the number of its runs. `alive`: its leases are
    valid; runs of others are taken over."""

    name: str
    runs: int
    alive: bool


@dataclass(frozen=True, slots=True)
class QueueWorker:
    """A worker of the queue and its last heartbeat."""

    id: int
    heartbeat: datetime


def run_counts(tenant_id: int | None) -> Mapping[str, int]:
    """Returns the number of unfinished runs by state; every state is there."""
    with connection.cursor() as cursor:
        if tenant_id is None:
            cursor.execute(f"{_UNFINISHED} GROUP BY state")
        else:
            cursor.execute(f"{_UNFINISHED} AND tenant_id = %s GROUP BY state", [tenant_id])
        found = dict(cursor.fetchall())
    return {
        str(state): found.get(state, 0)
        for state in (RunState.RUNNING, RunState.QUEUED, RunState.READY, RunState.WAITING)
    }


def run_oldest(tenant_id: int | None) -> datetime | None:
    """Returns when the oldest run that waits for a worker was accepted."""
    rows = Run.objects.filter(state__in=(RunState.QUEUED, RunState.READY))
    rows = rows if tenant_id is None else rows.filter(tenant_id=tenant_id)
    return rows.order_by("created_at").values_list("created_at", flat=True).first()


def run_failures(tenant_id: int | None, limit: int) -> Sequence[RunFailure]:
    """Returns the newest failed runs of the last seven days."""
    rows = Run.objects.filter(ended_at__isnull=False, ended_at__gte=clock.now() - RECENT, state=RunState.FAILED)
    if tenant_id is not None:
        rows = rows.filter(tenant_id=tenant_id).order_by("-ended_at")
    else:
        # The index of ended runs begins with the tenant, so for all tenants only the newest rows are read.
        newest = Run.objects.order_by("-pk").values_list("pk", flat=True)[NEWEST_ROWS : NEWEST_ROWS + 1].first()
        rows = (rows if newest is None else rows.filter(pk__gt=newest)).order_by("-pk")
    return [
        RunFailure(
            run.pk,
            run.session.public_id,
            run.tenant.slug,
            run.error_code or "",
            visible_text((run.error_reason or "")[:MAX_REASON]),
            run.ended_at or run.created_at,
        )
        for run in rows.select_related("session", "tenant")[:limit]
    ]


def leg_owners() -> Sequence[LegOwner]:
    """Returns the processes that hold running runs, for the whole deployment."""
    now = clock.now().timestamp()
    running = Run.objects.filter(state=RunState.RUNNING).order_by().values_list("session__stream__owner")
    held = running.annotate(Count("pk"), Max("session__stream__lease_expires"))
    owners = [LegOwner(owner or "", runs, (expires or 0.0) > now) for owner, runs, expires in held]
    return sorted(owners, key=lambda owner: owner.name)


def queue_workers() -> Sequence[QueueWorker]:
    """Returns the workers of the queue, the one heard of last first; none in an embedded gateway, which has no
    queue."""
    workers = _queue_rows("ProcrastinateWorker")
    if workers is None:
        return []
    return [QueueWorker(worker.pk, worker.last_heartbeat) for worker in workers.order_by("-last_heartbeat")[:LISTED]]


def queue_jobs() -> Mapping[str, int]:
    """Returns the number of unfinished jobs of the queue by status; empty in an embedded gateway."""
    jobs = _queue_rows("ProcrastinateJob")
    if jobs is None:
        return {}
    unfinished = jobs.filter(status__in=("todo", "doing")).order_by()
    return dict(unfinished.values_list("status").annotate(Count("pk")))


def _queue_rows(model: str) -> Any:
    """Returns the rows of a model of the queue; None where its app is not installed."""
    if not apps.is_installed("procrastinate.contrib.django"):
        return None
    return apps.get_model("procrastinate", model)._default_manager.all()
