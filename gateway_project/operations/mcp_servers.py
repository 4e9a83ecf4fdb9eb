"""The check of MCP servers of `gateway doctor`: what processes saw of them when they were last used."""

from __future__ import annotations

from typing import Literal

from tools_app import operator_rules
from tools_app.models import McpServerState

SHOWN_SERVERS = 5


def check_mcp_servers() -> tuple[Literal["ok", "warning"], str]:
    """Finds the operator's MCP servers that were without tools when they were last used, and tools that cannot be used.
    Counts those of tenants."""
    configured = list(operator_rules.rules().mcp)
    states = McpServerState.objects.all()
    away = states.exclude(state="ok")
    ours = list(away.filter(tenant__isnull=True, name__in=configured).order_by("name")[:SHOWN_SERVERS])
    theirs = away.filter(tenant__isnull=False).count()
    more = f" {theirs} servers of tenants are away." if theirs else ""
    if ours:
        reasons = " ".join(f"{state.name}: {state.reason}" for state in ours)
        return "warning", f"without tools when they were last used: {reasons}{more}"
    bad = [
        f"{state.name}: {left['tool']}: {left['reason']}"
        for state in states.filter(tenant__isnull=True, name__in=configured).exclude(left_out=[]).order_by("name")
        for left in state.left_out
    ]
    if bad:
        return "warning", f"{len(bad)} tools cannot be used: {' '.join(bad[:SHOWN_SERVERS])}{more}"
    return "ok", f"{len(configured)} are configured, none was away when it was last used.{more}"
