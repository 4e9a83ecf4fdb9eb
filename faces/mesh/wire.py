"""Tasks and spaces in the form in which clients see them: snake_case in responses, camelCase in `task_status`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from core_app import jsontext
from faces.mesh.models import Artifact, Space, SpaceMessage, Task, TaskRun


def milliseconds(moment: datetime) -> int:
    """Returns an instant as the protocol writes it."""
    return round(moment.timestamp() * 1000)


def task_summary(task: Task) -> dict[str, Any]:
    """Returns a task as lists show it."""
    return {
        "id": task.public_id,
        "status": task.status,
        "assigned_agents": jsontext.decode(task.agents),
        "created_at": milliseconds(task.created_at),
        "updated_at": milliseconds(task.updated_at),
    }


def task_to_wire(task: Task) -> dict[str, Any]:
    """Returns a task with its result, its error and its sessions."""
    sessions = TaskRun.objects.filter(task=task, session_id__isnull=False).order_by("number")
    shown = {
        **task_summary(task),
        "result": task_result(task),
        "error": task_error(task),
        "session_ids": list(sessions.values_list("session_id", flat=True)),
    }
    if task.partial:
        shown["partial"] = True
    if task.space_ref is not None:
        shown["shared_space_id"] = task.space_ref
    if task.pipeline_id is not None:
        shown |= {"pipeline_id": task.pipeline_id, "step": task.step}
    return shown


def task_status(task: Task) -> dict[str, Any]:
    """Returns a task as the event `task_status` has it."""
    return {
        "id": task.public_id,
        "status": task.status,
        "message": jsontext.decode(task.body),
        "assignedAgents": jsontext.decode(task.agents),
        "result": task_result(task),
        "error": task_error(task),
        "createdAt": milliseconds(task.created_at),
        "updatedAt": milliseconds(task.updated_at),
    }


def task_result(task: Task) -> Any:
    """Returns the result; None for a task that has none."""
    return jsontext.decode(task.result) if task.result is not None else None


def task_error(task: Task) -> dict[str, str] | None:
    """Returns the error of a task that failed or was cancelled."""
    if task.error_code is None:
        return None
    return {"code": task.error_code, "message": task.error_message or ""}


def space_to_wire(space: Space) -> dict[str, Any]:
    """Returns a space."""
    return {
        "shared_space_id": space.public_id,
        "message_count": space.message_count,
        "artifact_count": space.artifact_count,
        "metadata": jsontext.decode(space.metadata),
        "created_at": milliseconds(space.created_at),
        "updated_at": milliseconds(space.updated_at),
    }


def message_to_wire(message: SpaceMessage) -> dict[str, Any]:
    """Returns a message: the client's own fields, then the gateway's."""
    body: dict[str, Any] = jsontext.decode(message.body)
    return {
        **body,
        "id": message.public_id,
        "role": message.role,
        "content": message.content,
        "created_at": milliseconds(message.created_at),
        "offset": message.number,
    }


def artifact_to_wire(artifact: Artifact) -> dict[str, Any]:
    """Returns an artifact without its bytes."""
    return {
        "name": artifact.name,
        "size": artifact.size,
        "media_type": artifact.media_type,
        "updated_at": milliseconds(artifact.updated_at),
    }
