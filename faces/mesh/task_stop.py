"""The end of a task from outside: cancelled by a client, or past its deadline. What runs for it is aborted."""

from __future__ import annotations

from django.db.models import Exists, OuterRef

from core_app import clock
from core_app.database import write_transaction
from core_app.errors import Conflict
from events_app import log
from events_app.removal import GoOn
from faces.mesh.errors import CANCELLED, EXECUTION_ERROR, TIMEOUT
from faces.mesh.models import UNFINISHED, Task, TaskRun
from faces.mesh.stream import mesh_append, mesh_lock
from faces.mesh.task_advance import task_advance
from faces.mesh.task_end import task_fail
from faces.mesh.task_runs import part_end
from faces.mesh.tasks import task_get
from sessions_app.models import UNFINISHED as UNFINISHED_RUNS
from sessions_app.models import AgentSession, Run
from sessions_app.services.run_end import run_stop
from tenants_app.principal import Principal

ATTEMPTS = 10
"""Times that a task is looked at again whose next step started meanwhile."""

BATCH = 200


def task_cancel(*, principal: Principal, public_id: str) -> Task:
    """Ends an unfinished task as cancelled. Raises TaskNotFound, and Conflict when it has ended."""
    task = task_get(principal, public_id)
    if not task_stop(task, code=CANCELLED, message="The task was cancelled by a client."):
        raise Conflict(f"The task {public_id!r} has already ended.")
    return task_get(principal, public_id)


def tasks_time_out(go_on: GoOn) -> None:
    """Ends the tasks whose deadline has passed."""
    # The condition of the index `task_deadline`, literally: SQLite uses a partial index only then.
    due = Task.objects.extra(where=["status IN ('pending', 'assigned', 'running')"])
    due = due.filter(deadline_at__lte=clock.now()).order_by("deadline_at")
    for task in list(due[:BATCH]):
        if not go_on():
            return
        task_stop(
            task, code=TIMEOUT, message=f"The task took longer than {task.timeout_seconds:g} s (options.timeout)."
        )


def tasks_reconcile(go_on: GoOn) -> None:
    """Ends the parts of tasks whose runs have ended without their observer, or are gone."""
    parts = TaskRun.objects.extra(where=["NOT mesh_taskrun.ended"])
    parts = parts.filter(run_id__isnull=False, task__status__in=UNFINISHED)
    running = Run.objects.filter(pk=OuterRef("run_id"), state__in=UNFINISHED_RUNS)
    found = parts.exclude(Exists(running)).select_related("task").order_by("task_id")
    for part in list(found[:BATCH]):
        if not go_on():
            return
        with write_transaction():
            mesh_lock(part.task.tenant_id)
            part.refresh_from_db()
            run = Run.objects.filter(pk=part.run_id).first()
            if part.ended or (run is not None and run.state in UNFINISHED_RUNS):
                continue
            if run is not None:
                mesh_append(part.task.tenant_id, part_end(part, run))
                continue
            part.ended, part.error_code = True, EXECUTION_ERROR
            part.error_message = "The agent's session does not exist any more."
            part.save(update_fields=["ended", "error_code", "error_message"])
            part.task.refresh_from_db()
            mesh_append(part.task.tenant_id, task_advance(part.task))


def task_stop(task: Task, *, code: str, message: str) -> bool:
    """Ends the task and aborts its runs. False when it has ended before."""
    for _ in range(ATTEMPTS):
        streams = _open_streams(task)
        with write_transaction():
            # The sessions' streams before the tenant's: the order in which all code locks them.
            log.lock_all(streams)
            mesh_lock(task.tenant_id)
            task.refresh_from_db()
            if task.status not in UNFINISHED:
                return False
            if not set(_open_streams(task)) <= set(streams):
                continue
            events = task_fail(task, code, message)
            _runs_stop(task, code, message)
            mesh_append(task.tenant_id, events)
            return True
    raise Conflict("The task is starting; try again.")


def _open_streams(task: Task) -> list[int]:
    parts = TaskRun.objects.filter(task=task, ended=False, stream_id__isnull=False)
    return sorted(stream_id for stream_id in parts.values_list("stream_id", flat=True) if stream_id is not None)


def _runs_stop(task: Task, code: str, message: str) -> None:
    """Aborts the runs; their observer then finds the task ended, and notes the ends of its parts."""
    reason = "timeout" if code == TIMEOUT else "aborted"
    for part in TaskRun.objects.filter(task=task, ended=False, run_id__isnull=False):
        run = Run.objects.filter(pk=part.run_id, state__in=UNFINISHED_RUNS).first()
        session = AgentSession.objects.filter(pk=run.session_id).first() if run is not None else None
        if run is not None and session is not None:
            run_stop(session=session, run=run, reason=reason, message=message)
