"""Submission of tasks: the route, the rows, and the sessions and prompts of the agents, in one transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from django.conf import settings

from core_app import jsontext
from core_app.database import write_transaction
from core_app.errors import QueueFull
from core_app.ids import new_id
from events_app.types import Event
from faces.mesh.agents import agent_require, candidates
from faces.mesh.callers import caller_text
from faces.mesh.errors import NoAgentAvailable, TaskNotFound
from faces.mesh.events import TaskSubmitted
from faces.mesh.models import UNFINISHED, Space, Task
from faces.mesh.prompt_text import prompt_text
from faces.mesh.routing import Route, route
from faces.mesh.rules import routing_table
from faces.mesh.space_log import space_record
from faces.mesh.spaces import space_get
from faces.mesh.stream import mesh_append, mesh_lock
from faces.mesh.task_advance import step_prompt, task_advance
from faces.mesh.task_start import task_start
from tenants_app.principal import Principal

GATEWAY_TARGET = "gateway"
"""The target that means: route it."""

DEFAULT_TIMEOUT_SECONDS = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRequest:
    """A request for a task, whose types and bounds have been checked. `body` is the client's AgentMessage."""

    text: str
    task_id: str | None = None
    target: str | None = None
    space_id: str | None = None
    history: Sequence[Mapping[str, Any]] = ()
    artifacts: Sequence[Any] = ()
    files: Sequence[str] = ()
    capabilities: Sequence[str] = ()
    stream: bool = False
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PipelineStep:
    """A step: the agent, and the text that comes before the step's input."""

    agent_id: str
    prompt: str = ""


def task_submit(*, principal: Principal, request: TaskRequest) -> Task:
    """Stores a task and starts it; returns the existing one when the tenant has a task of that id.

    Raises BadRequest, SpaceNotFound, AgentNotFound, NoAgentAvailable. The task is committed when this returns.
    """
    if (existing := _existing(principal, request)) is not None:
        return existing
    space = space_get(principal, request.space_id) if request.space_id is not None else None
    tasks_check(principal.tenant_id, 1)
    chosen = _route(principal, request)
    text = prompt_text(request.text, artifacts=request.artifacts, files=request.files, space=space)
    with write_transaction():
        mesh_lock(principal.tenant_id)
        if (existing := _existing(principal, request)) is not None:
            return existing
        task = _task(principal, request, space, chosen, text)
        events: list[Event] = [TaskSubmitted(task_id=task.public_id, space_id=task.space_ref)]
        if space is not None:
            events += space_record(space.pk, role="user", content=request.text, body={"task_id": task.public_id})
        events += task_start(principal, task, prompt=text, history=request.history)
        events += task_advance(task)
        mesh_append(principal.tenant_id, events)
    return task


def pipeline_submit(
    *, principal: Principal, steps: Sequence[PipelineStep], text: str, request: TaskRequest
) -> tuple[str, list[Task]]:
    """Stores a task per step and starts the first one; returns the pipeline's id and its tasks. `request` has what all
    steps share. Raises AgentNotFound."""
    for step in steps:
        agent_require(principal, step.agent_id)
    tasks_check(principal.tenant_id, len(steps))
    pipeline_id = new_id("pipe")
    with write_transaction():
        mesh_lock(principal.tenant_id)
        tasks = []
        for number, step in enumerate(steps):
            shared = replace(request, text=step.prompt, task_id=None)
            task = _task(principal, shared, None, Route((step.agent_id,)), step.prompt, pipeline=(pipeline_id, number))
            tasks.append(task)
        events: list[Event] = [TaskSubmitted(task_id=task.public_id) for task in tasks]
        events += task_start(principal, tasks[0], prompt=step_prompt(steps[0].prompt, text))
        events += task_advance(tasks[0])
        mesh_append(principal.tenant_id, events)
    return pipeline_id, tasks


def tasks_check(tenant_id: int, more: int) -> None:
    """Raises QueueFull when `more` tasks would exceed GATEWAY_MAX_TASKS_PER_TENANT unfinished ones."""
    limit = settings.GATEWAY_MAX_TASKS_PER_TENANT
    if limit > 0 and Task.objects.filter(tenant_id=tenant_id, status__in=UNFINISHED).count() + more > limit:
        raise QueueFull(f"The tenant may have {limit} unfinished tasks (GATEWAY_MAX_TASKS_PER_TENANT).")


def task_get(principal: Principal, public_id: str) -> Task:
    """Returns the tenant's task. Raises TaskNotFound."""
    task = Task.objects.filter(tenant_id=principal.tenant_id, public_id=public_id).first()
    if task is None:
        raise TaskNotFound(f"There is no task {public_id!r}.")
    return task


def _existing(principal: Principal, request: TaskRequest) -> Task | None:
    if request.task_id is None:
        return None
    return Task.objects.filter(tenant_id=principal.tenant_id, public_id=request.task_id).first()


def _route(principal: Principal, request: TaskRequest) -> Route:
    if request.target is not None and request.target != GATEWAY_TARGET:
        agent = agent_require(principal, request.target)
        if not agent.can(request.capabilities):
            raise NoAgentAvailable(f"The agent {agent.id!r} does not have all required capabilities.")
        return Route((agent.id,))
    table = routing_table(principal)
    found = route(
        request.text,
        rules=table.rules,
        agents=candidates(principal),
        required=request.capabilities,
        default=table.default,
    )
    if found is None:
        raise NoAgentAvailable("No rule, capability or default agent leads to an agent that is available.")
    return found


def _task(
    principal: Principal,
    request: TaskRequest,
    space: Space | None,
    chosen: Route,
    text: str,
    *,
    pipeline: tuple[str | None, int] = (None, 0),
) -> Task:
    return Task.objects.create(
        tenant_id=principal.tenant_id,
        public_id=request.task_id or new_id("task"),
        broadcast=chosen.broadcast,
        agents=jsontext.encode_text(list(chosen.agents)),
        body=jsontext.encode_text(request.body),
        prompt=text,
        space=space,
        space_ref=space.public_id if space is not None else None,
        streams=request.stream,
        timeout_seconds=request.timeout_seconds,
        pipeline_id=pipeline[0],
        step=pipeline[1],
        caller=caller_text(principal),
    )
