"""The audit log of the Codelab protocol: what was decided, switched and failed in a session, and the tenant's audit
trail.

Entries are made from the rows of calls and runs and from the session's log, and are as old as those are kept.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping
from typing import Any

from core_app import jsontext
from core_app.clock import iso_ms
from events_app import log
from sessions_app.agent_switches import agent_switches
from sessions_app.models import AgentSession
from sessions_app.selectors import runs_failed
from tenants_app.models import AuditEntry
from tenants_app.selectors.audit import audit_newest
from tools_app.events import ApprovalResolved
from tools_app.models import ToolCall
from tools_app.result_body import as_text
from tools_app.selectors import calls_by_approval, calls_failed, calls_with_approval
from tools_app.states import ApprovalState

Entry = dict[str, Any]

MAX_ERROR_CHARACTERS = 2000


def session_entries(session: AgentSession, *, event_type: str | None, limit: int) -> list[Entry]:
    """Returns the newest entries about a session, the oldest of them first."""
    wanted = [make for name, make in _SOURCES.items() if event_type in (None, name)]
    found = [entry for make in wanted for entry in make(session, limit)]
    return heapq.nlargest(limit, found, key=lambda entry: entry["timestamp"])[::-1]


def tenant_entries(tenant_id: int, *, event_type: str | None, limit: int) -> list[Entry]:
    """Returns the newest entries of the tenant's audit trail, the oldest of them first."""
    return [_trail_entry(entry) for entry in audit_newest(tenant_id, action=event_type, limit=limit)]


def _switches(session: AgentSession, limit: int) -> list[Entry]:
    return [
        _entry(
            session,
            "agent_switched",
            switch.at,
            f"{session.stream_id}:{switch.offset}",
            from_agent=switch.from_agent,
            to_agent=switch.to_agent,
            reason=switch.reason,
        )
        for switch in agent_switches(session.stream_id)[-limit:]
    ]


def _approvals(session: AgentSession, limit: int) -> list[Entry]:
    calls = calls_with_approval(session.stream_id, limit=limit)
    return [
        _entry(
            session,
            "tool_approval_required",
            iso_ms(call.requested_at or call.created_at),
            str(call.approval_id),
            call_id=call.pk,
            tool_name=call.tool_name,
            arguments=jsontext.decode(call.args),
            reason=call.approval_hint,
        )
        for call in calls
    ]


def _decisions(session: AgentSession, limit: int) -> list[Entry]:
    events = log.read_newest(session.stream_id, texts={ApprovalResolved.type: '"approvalId"'}, limit=limit)
    resolved = [jsontext.decode(event.data) for event in events]
    calls = calls_by_approval(session.stream_id, [data["approvalId"] for data in resolved])
    return [
        _entry(
            session,
            "hitl_decision_made",
            data["at"],
            f"{session.stream_id}:{event.offset}",
            call_id=call.pk,
            tool_name=call.tool_name,
            decision=_decision_name(call),
            decided_by=call.decided_by,
            feedback=call.comment,
            original_args=jsontext.decode(call.args),
            modified_args=None if call.decided_args is None else jsontext.decode(call.decided_args),
        )
        for event, data in zip(events, resolved, strict=True)
        if data["status"] != ApprovalState.EXPIRED and (call := calls.get(data["approvalId"])) is not None
    ]


def _failed_calls(session: AgentSession, limit: int) -> list[Entry]:
    return [
        _entry(
            session,
            "tool_execution_failed",
            iso_ms(call.settled_at or call.created_at),
            f"{call.pk}:end",
            call_id=call.provider_id if call.is_outside else call.pk,
            tool_name=call.tool_name,
            error_message=_error_text(call)[:MAX_ERROR_CHARACTERS],
            error_type=call.status,
        )
        for call in calls_failed(session.stream_id, limit=limit)
    ]


def _failed_runs(session: AgentSession, limit: int) -> list[Entry]:
    return [
        _entry(
            session,
            "agent_error",
            iso_ms(run.ended_at or run.created_at),
            run.pk,
            agent=session.agent or session.model,
            error_message=(run.error_reason or "")[:MAX_ERROR_CHARACTERS],
            error_type=run.error_code,
        )
        for run in runs_failed(session, limit=limit)
    ]


def _decision_name(call: ToolCall) -> str:
    """Returns the decision on a call as `hitl_decision` names it."""
    if call.approval_state == ApprovalState.REJECTED:
        return "reject"
    return "approve" if call.decided_args is None else "edit"


def _error_text(call: ToolCall) -> str:
    result = call.result or ""
    return as_text(jsontext.decode(result)) if call.is_outside and call.status == "error" else result


def _entry(session: AgentSession, kind: str, timestamp: str, event_id: str, **fields: Any) -> Entry:
    shown = {"timestamp": timestamp, "event_type": kind, "event_id": event_id, "session_id": session.public_id}
    return shown | fields


def _trail_entry(entry: AuditEntry) -> Entry:
    return {
        "timestamp": iso_ms(entry.at),
        "event_type": entry.action,
        "event_id": f"audit:{entry.pk}",
        "session_id": None,
        "actor": entry.actor,
        "target": entry.target,
        "detail": entry.detail,
    }


_SOURCES: Mapping[str, Callable[[AgentSession, int], list[Entry]]] = {
    "agent_switched": _switches,
    "tool_approval_required": _approvals,
    "hitl_decision_made": _decisions,
    "tool_execution_failed": _failed_calls,
    "agent_error": _failed_runs,
}
