"""Events: the tenant's live stream of tasks, agents and spaces."""

from __future__ import annotations

from django.utils.translation import gettext_lazy as _

from faces.console.page import Page
from tenants_app.principal import TASKS_READ

PAGE = Page(
    name="events",
    route="events",
    title=_("Events"),
    template="console/events.html",
    script="events.js",
    style="work.css",
    scopes=(TASKS_READ,),
)
