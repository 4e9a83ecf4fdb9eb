"""Spaces: the list, and a space with its messages and files as they come. Their rows belong to another protocol, so
both pages are filled by their scripts from its API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from faces.console.page import Page, Visit
from tenants_app.principal import TASKS_READ


def _one(visit: Visit, space_id: str) -> Mapping[str, Any]:
    return {"data": {"spaceId": space_id}, "space_id": space_id}


PAGE = Page(
    name="spaces",
    route="spaces",
    title=_("Spaces"),
    template="console/spaces.html",
    script="spaces.js",
    style="work.css",
    scopes=(TASKS_READ,),
)
SPACE = Page(
    name="space",
    route="spaces/<str:space_id>",
    title=_("Space"),
    template="console/space.html",
    script="space.js",
    style="work.css",
    context=_one,
    scopes=(TASKS_READ,),
    menu=False,
    parent="spaces",
)
