"""The start of a task: a session with a prompt for each of its agents.

The caller holds the tenant's mesh lock, and appends the events that are returned here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.db import transaction

from agents_app.http_agent import SPACE
from core_app import clock, jsontext
from core_app.errors import GatewayError, Unprocessable
from events_app import log
from events_app.types import Event
from faces.mesh.errors import EXECUTION_ERROR
from faces.mesh.events import TaskAssigned
from faces.mesh.models import Task, TaskRun, TaskStatus
from faces.mesh.stream import mesh_stream
from sessions_app.services.history import ImportedMessage
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.principal import Principal

MARKER = "mesh_task"
"""The key in a run's metadata by which its task is told of it."""

MAX_HISTORY = 200
_ROLES = ("user", "assistant")


def task_start(
    principal: Principal, task: Task, *, prompt: str, history: Sequence[Mapping[str, Any]] = ()
) -> list[Event]:
    """Creates the sessions and prompts of the task's agents; returns the events of it. `task_advance` has to follow.

    An agent that cannot be served fails its part at once. Other errors, such as a quota, are raised.
    """
    agents: list[str] = jsontext.decode(task.agents)
    task.status, task.updated_at = TaskStatus.ASSIGNED, clock.now()
    task.deadline_at = task.updated_at + timedelta(seconds=task.timeout_seconds)
    task.save(update_fields=["status", "updated_at", "deadline_at"])
    events: list[Event] = [
        TaskAssigned(task_id=task.public_id, space_id=task.space_ref, agent_id=agents[0], agent_ids=agents)
    ]
    for number, agent_id in enumerate(agents):
        _part_start(principal, task, TaskRun(task=task, number=number, agent_id=agent_id), prompt, history)
    return events


def _part_start(
    principal: Principal, task: Task, part: TaskRun, prompt: str, history: Sequence[Mapping[str, Any]]
) -> None:
    try:
        with transaction.atomic():
            request = SessionRequest(
                agent=part.agent_id,
                title=f"Task {task.public_id}"[:200],
                metadata={MARKER: task.public_id},
                messages=_imported(history),
            )
            session = session_create(principal=principal, request=request)
            if task.streams:
                # Its deltas are counted in the tenant's stream, where followers see them as progress.
                log.stream_parent_set(session.stream_id, mesh_stream(task.tenant_id))
            shared = {SPACE: task.space_ref} if task.space_ref is not None else {}
            accepted = Prompt(text=prompt, metadata={MARKER: task.public_id, **shared})
            receipt = prompt_accept(principal=principal, public_id=session.public_id, prompt=accepted)
        part.session_id, part.stream_id, part.run_id = session.public_id, session.stream_id, receipt.run_pk
    except Unprocessable as error:
        part.ended, part.error_code, part.error_message = True, EXECUTION_ERROR, error.message
    part.save()


def step_start(principal: Principal, task: Task, *, prompt: str) -> list[Event]:
    """Starts a later step of a pipeline, whose caller waits for no answer: every refusal is the task's failure."""
    try:
        with transaction.atomic():
            return task_start(principal, task, prompt=prompt)
    except GatewayError as error:
        agent_id = jsontext.decode(task.agents)[0]
        TaskRun.objects.create(
            task=task,
            number=0,
            agent_id=agent_id,
            ended=True,
            error_code=EXECUTION_ERROR,
            error_message=error.message,
        )
        return []


def _imported(history: Sequence[Mapping[str, Any]]) -> list[ImportedMessage]:
    """Returns the history's newest messages; entries of other shapes are no messages of a conversation."""
    found = [
        ImportedMessage(role=entry["role"], content=entry["content"])
        for entry in history
        if entry.get("role") in _ROLES and isinstance(entry.get("content"), str) and entry["content"]
    ]
    return found[-MAX_HISTORY:]
