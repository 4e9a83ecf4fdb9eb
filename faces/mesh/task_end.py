"""The end of a task, as it follows from the ends of its agents' runs.

The caller holds the tenant's mesh lock, and appends the events that are returned here.
"""

from __future__ import annotations

from typing import Any

from core_app import clock, jsontext
from events_app.types import Event
from faces.mesh.errors import CANCELLED, EXECUTION_ERROR, TASK_FAILED
from faces.mesh.events import TaskCompleted, TaskFailed
from faces.mesh.models import UNFINISHED, Task, TaskRun, TaskStatus
from faces.mesh.space_log import space_record


def task_conclude(task: Task) -> list[Event]:
    """Ends the task if all its parts have ended; a task that has ended already stays as it is."""
    if task.status not in UNFINISHED:
        return []
    parts = list(TaskRun.objects.filter(task=task).order_by("number"))
    if not parts or not all(part.ended for part in parts):
        return []
    if task.broadcast:
        return _conclude_broadcast(task, parts)
    (part,) = parts
    if part.output is not None:
        return task_complete(task, part.output, agent_id=part.agent_id)
    code = part.error_code or EXECUTION_ERROR
    return task_fail(task, code, part.error_message or "", agent_id=part.agent_id)


def task_complete(task: Task, result: Any, *, agent_id: str | None, partial: bool = False) -> list[Event]:
    """Ends the task with its result."""
    task.result, task.partial = jsontext.encode_text(result), partial
    _save(task, TaskStatus.COMPLETED)
    event = TaskCompleted(
        task_id=task.public_id, space_id=task.space_ref, agent_id=agent_id, result=result, partial=partial or None
    )
    recorded: list[Event] = []
    if task.space_id is not None:
        text = result if isinstance(result, str) else jsontext.encode_text(result)
        body = {"task_id": task.public_id, "agent_id": agent_id}
        recorded = space_record(task.space_id, role="assistant", content=text, body=body)
    return [event, *recorded]


def task_fail(task: Task, code: str, message: str, *, agent_id: str | None = None) -> list[Event]:
    """Ends the task without a result, and cancels the steps of its pipeline that come after it."""
    task.error_code, task.error_message = code, message
    _save(task, TaskStatus.CANCELLED if code == CANCELLED else TaskStatus.FAILED)
    events: list[Event] = [_failed(task, agent_id)]
    reason = f"The step before it, {task.public_id}, has no result."
    for later in later_steps(task):
        later.error_code, later.error_message = CANCELLED, reason
        _save(later, TaskStatus.CANCELLED)
        events.append(_failed(later, None))
    return events


def _conclude_broadcast(task: Task, parts: list[TaskRun]) -> list[Event]:
    failed = [part for part in parts if part.output is None]
    if len(failed) == len(parts):
        first = failed[0]
        message = f"None of the {len(parts)} agents has a result. {first.agent_id}: {first.error_message}"
        codes = {part.error_code for part in failed}
        return task_fail(task, CANCELLED if codes == {CANCELLED} else TASK_FAILED, message)
    results = {part.agent_id: _part_result(part) for part in parts}
    return task_complete(task, results, agent_id=None, partial=bool(failed))


def _part_result(part: TaskRun) -> Any:
    if part.output is not None:
        return part.output
    return {"error": {"code": part.error_code, "message": part.error_message}}


def later_steps(task: Task) -> list[Task]:
    """Returns the steps of the task's pipeline that come after it and have not started, in their order."""
    if task.pipeline_id is None:
        return []
    later = Task.objects.filter(tenant_id=task.tenant_id, pipeline_id=task.pipeline_id, step__gt=task.step)
    return list(later.filter(status=TaskStatus.PENDING).order_by("step"))


def _save(task: Task, status: TaskStatus) -> None:
    task.status, task.updated_at = status, clock.now()
    task.save(
        update_fields=["status", "updated_at", "result", "partial", "error_code", "error_message"],
    )


def _failed(task: Task, agent_id: str | None) -> TaskFailed:
    error = {"code": task.error_code or TASK_FAILED, "message": task.error_message or ""}
    return TaskFailed(task_id=task.public_id, space_id=task.space_ref, agent_id=agent_id, error=error)
