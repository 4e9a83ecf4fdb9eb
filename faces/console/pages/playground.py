"""Playground: talk to a model or an agent with chosen tools and parameters, compare two, and copy it as a program.

The page's script does all of it with ordinary sessions over the native API; they are listed among the sessions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext_lazy as _

from agents_app.directory.selectors import agents_visible
from agents_app.options import EFFORTS
from faces.console.page import Page, Visit
from inference_app.relay.model_list import models_listed
from tenants_app.principal import SESSIONS
from tools_app.executors.builtin import BUILTINS
from tools_app.mcp.selectors import servers_allowed
from tools_app.operator_rules import builtins_allowed

MAX_MODELS = 500


def _context(visit: Visit) -> Mapping[str, Any]:
    principal = visit.principal
    models = [name for name, _owner, _entry in models_listed(principal.tenant_id)][:MAX_MODELS]
    allowed = builtins_allowed()
    tools = [(name, BUILTINS[name].description) for name in allowed if name in BUILTINS]
    return {
        "models": models,
        "agents": agents_visible(principal),
        "tools": tools,
        "servers": [*(name for name in allowed if name not in BUILTINS), *servers_allowed(principal.tenant_id)],
        "efforts": EFFORTS,
        "first": principal.default_model or (models[0] if models else ""),
    }


PAGE = Page(
    name="playground",
    route="playground",
    title=_("Playground"),
    template="console/playground.html",
    script="playground.js",
    style="playground.css",
    context=_context,
    scopes=(SESSIONS,),
)
