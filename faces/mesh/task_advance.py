"""The progress of tasks: a task whose parts have ended ends, and the next step of its pipeline starts with its result.

The caller holds the tenant's mesh lock, and appends the events that are returned here.
"""

from __future__ import annotations

from core_app import jsontext
from core_app.errors import GatewayError
from events_app.types import Event
from faces.mesh.callers import caller_principal
from faces.mesh.errors import EXECUTION_ERROR
from faces.mesh.models import Task, TaskStatus
from faces.mesh.task_end import later_steps, task_conclude, task_fail
from faces.mesh.task_start import step_start


def task_advance(task: Task) -> list[Event]:
    """Ends the task if its parts have ended, and goes on with its pipeline as far as that is possible now."""
    events: list[Event] = []
    following: Task | None = task
    while following is not None:
        current = following
        concluded = task_conclude(current)
        events += concluded
        completed = bool(concluded) and current.status == TaskStatus.COMPLETED
        following = next(iter(later_steps(current)), None) if completed else None
        if following is not None:
            events += _start_step(following, current)
    return events


def step_prompt(prompt: str, text: str) -> str:
    """Returns the prompt of a pipeline's step: its own text, then its input."""
    return f"{prompt}\n\n{text}" if prompt else text


def _start_step(step: Task, before: Task) -> list[Event]:
    try:
        principal = caller_principal(step.tenant_id, step.caller)
    except GatewayError as error:
        return task_fail(step, EXECUTION_ERROR, error.message)
    result = jsontext.decode(before.result or '""')
    text = result if isinstance(result, str) else jsontext.encode_text(result)
    return step_start(principal, step, prompt=step_prompt(step.prompt, text))
