"""Agents that sessions and tasks may go to, with their status; an agent's page has its definition."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from agents_app.directory.selectors import agent_find, agents_visible
from core_app.visible_text import visible_text
from faces.console.page import Page, Visit
from tenants_app.principal import AGENTS_READ


def _list(visit: Visit) -> Mapping[str, Any]:
    return {"agents": agents_visible(visit.principal)}


def _one(visit: Visit, agent_id: str) -> Mapping[str, Any]:
    agent = agent_find(visit.principal, agent_id)
    return {"agent": agent, "title": agent.name, "prompt": visible_text(agent.system_prompt)}


PAGE = Page(
    name="agents",
    route="agents",
    title=_("Agents"),
    template="console/agents.html",
    script="agents.js",
    style="work.css",
    context=_list,
    scopes=(AGENTS_READ,),
)
AGENT = Page(
    name="agent",
    route="agents/<str:agent_id>",
    title=_("Agent"),
    template="console/agent.html",
    script="agents.js",
    style="work.css",
    context=_one,
    scopes=(AGENTS_READ,),
    menu=False,
    parent="agents",
)
