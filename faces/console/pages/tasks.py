"""Tasks: the list, and a task with its text as it is written. Their rows belong to another protocol, so both pages are
filled by their scripts from its API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from faces.console.page import Page, Visit
from tenants_app.principal import TASKS_READ


def _one(visit: Visit, task_id: str) -> Mapping[str, Any]:
    return {"data": {"taskId": task_id}, "task_id": task_id}


PAGE = Page(
    name="tasks",
    route="tasks",
    title=_("Tasks"),
    template="console/tasks.html",
    script="tasks.js",
    style="work.css",
    scopes=(TASKS_READ,),
)
TASK = Page(
    name="task",
    route="tasks/<str:task_id>",
    title=_("Task"),
    template="console/task.html",
    script="task.js",
    style="work.css",
    context=_one,
    scopes=(TASKS_READ,),
    menu=False,
    parent="tasks",
)
