"""The observer of the runs of tasks: a task is running, completed or failed in the transaction in which its run is."""

from __future__ import annotations

from core_app import clock
from events_app.types import Event
from faces.mesh.errors import CANCELLED, EXECUTION_ERROR, TIMEOUT
from faces.mesh.events import TaskStarted
from faces.mesh.models import UNFINISHED, TaskRun, TaskStatus
from faces.mesh.stream import mesh_append, mesh_lock
from faces.mesh.task_advance import task_advance
from faces.mesh.task_start import MARKER
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.run_observers import RunObserver

_END_CODES = {"timeout": TIMEOUT, "aborted": CANCELLED, "deleted": CANCELLED}
"""The task's code by the reason with which its run ended; any other is EXECUTION_ERROR."""


class TaskRuns(RunObserver):
    """Moves tasks on when the runs of their agents start and end."""

    marker = f'"{MARKER}":'

    def run_started(self, session: AgentSession, run: Run) -> None:
        """Marks the task as running."""
        part = _locked_part(run)
        if part is None or part.started:
            return
        part.started = True
        part.save(update_fields=["started"])
        task = part.task
        if task.status not in UNFINISHED:
            return
        task.status, task.updated_at = TaskStatus.RUNNING, clock.now()
        task.save(update_fields=["status", "updated_at"])
        started = TaskStarted(task_id=task.public_id, space_id=task.space_ref, agent_id=part.agent_id)
        mesh_append(task.tenant_id, [started])

    def run_ended(self, session: AgentSession, run: Run) -> None:
        """Notes the agent's result or failure, and ends the task with its last part."""
        part = _locked_part(run)
        if part is not None:
            mesh_append(part.task.tenant_id, part_end(part, run))


def part_end(part: TaskRun, run: Run) -> list[Event]:
    """Notes the end of the part's run, and moves its task on; returns the events. The caller holds the mesh lock."""
    if part.ended:
        return []
    part.ended = True
    if run.state == RunState.COMPLETED:
        part.output = run.last_message or ""
    else:
        part.error_code, part.error_message = _failure(run)
    part.save(update_fields=["ended", "output", "error_code", "error_message"])
    return task_advance(part.task)


def _locked_part(run: Run) -> TaskRun | None:
    """Returns the run's part with its task, as they are under the lock; None for a run of no task."""
    tenant_id = TaskRun.objects.filter(run_id=run.pk).values_list("task__tenant_id", flat=True).first()
    if tenant_id is None or tenant_id != run.tenant_id:
        return None
    mesh_lock(tenant_id)
    return TaskRun.objects.select_related("task").filter(run_id=run.pk).first()


def _failure(run: Run) -> tuple[str, str]:
    if run.end_reason == "error":
        code = TIMEOUT if run.error_code == "timeout" else EXECUTION_ERROR
        return code, run.error_reason or "The agent failed."
    reason = run.end_reason or ""
    code = _END_CODES.get(reason, EXECUTION_ERROR)
    return code, _SENTENCES.get(reason, "The agent's run ended without an answer.")


_SENTENCES = {
    "timeout": "The agent did not answer in time.",
    "aborted": "The agent's run was aborted.",
    "deleted": "The agent's session was deleted.",
    "max_turns": "The agent's run reached its limit of answers.",
    "budget": "The budget of the key or tenant is used up.",
}
