"""Counts of agents and tools in a tenant's newest sessions, as the Codelab protocol groups them.

They are counted from the rows of runs and calls, so they are the same in every process and survive a restart.
"""

from __future__ import annotations

from typing import Any

from django.db.models import Q

from sessions_app.models import RunState
from sessions_app.selectors import run_outcomes, sessions_page
from tenants_app.principal import Principal
from tools_app.selectors import call_outcomes

MAX_SESSIONS = 200
"""The newest sessions that are counted, so that the cost does not grow with the tenant's history."""


def activity_metrics(principal: Principal) -> dict[str, Any]:
    """Returns `metrics`, and `computed` from them: average durations of runs, and the share of calls that went well."""
    sessions, _ = sessions_page(principal, before=None, limit=MAX_SESSIONS, filters=Q())
    agents, errors = _by_agent([session.pk for session in sessions])
    calls = call_outcomes([session.stream_id for session in sessions])
    tools = {
        call["tool_name"]: {name: call[name] for name in ("requested", "completed", "failed", "requires_approval")}
        for call in calls
    }
    decisions = {
        call["tool_name"]: {"APPROVE": call["approved"], "EDIT": call["edited"], "REJECT": call["rejected"]}
        for call in calls
        if call["requires_approval"]
    }
    return {
        "metrics": {
            "agent_processing": agents,
            "tool_executions": tools,
            "hitl_decisions": decisions,
            "errors": errors,
        },
        "computed": _computed(agents, tools),
        "sessions": len(sessions),
    }


def _by_agent(session_ids: list[int]) -> tuple[dict[str, dict[str, int]], dict[str, dict[str, int]]]:
    agents: dict[str, dict[str, int]] = {}
    errors: dict[str, dict[str, int]] = {}
    for row in run_outcomes(session_ids):
        agent = agents.setdefault(
            row["agent"], {"count": 0, "total_duration_ms": 0, "success_count": 0, "failure_count": 0}
        )
        agent["count"] += row["count"]
        agent["total_duration_ms"] += row["sum_ms"]
        if row["state"] == RunState.COMPLETED:
            agent["success_count"] += row["count"]
        if row["state"] == RunState.FAILED:
            agent["failure_count"] += row["count"]
            codes = errors.setdefault(row["agent"], {})
            code = row["error_code"] or "unknown"
            codes[code] = codes.get(code, 0) + row["count"]
    return agents, errors


def _computed(agents: dict[str, dict[str, int]], tools: dict[str, dict[str, int]]) -> dict[str, float]:
    computed = {
        f"{name}_avg_duration_ms": round(agent["total_duration_ms"] / agent["count"], 2)
        for name, agent in agents.items()
    }
    for name, tool in tools.items():
        ended = tool["completed"] + tool["failed"]
        computed[f"{name}_success_rate"] = round(tool["completed"] / ended, 3) if ended else 0.0
    return computed
