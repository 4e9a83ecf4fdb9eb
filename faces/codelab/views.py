"""REST of the Codelab protocol: agents, the conversation, what waits for a decision, the audit log and counts
(docs/protocol-codelab.md, "HTTP").

All of it is read from the gateway's own data; nothing is asked of an agent runtime. Times are ISO 8601 in UTC.
"""

from __future__ import annotations

from typing import Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from agents_app.directory import agents_visible
from agents_app.directory.entries import AgentEntry, definitions
from core_app import clock, jsontext
from core_app.clock import iso_ms
from edge_app.rest.paging import limit_of
from edge_app.rest.viewsets import GatewayViewSet
from faces.codelab.audit_log import session_entries, tenant_entries
from faces.codelab.metrics import activity_metrics
from sessions_app.agent_switches import AgentSwitch, agent_switches
from sessions_app.models import AgentSession, Message
from sessions_app.selectors import messages_newest, session_get
from tenants_app.principal import ADMIN, SESSIONS
from tools_app.selectors import pending

_ROLES = {"tool_result": "tool"}


class CodelabAgentViewSet(GatewayViewSet):
    """Agents that `switch_agent` may name, and the one of a session."""

    scope = SESSIONS
    lookup_url_kwarg = "session_id"

    def list(self, request: Request) -> Response:
        # Shipped agents are there where their programs are.
        absent = {
            one.id for one in agents_visible(self.principal) if one.source == "shipped" and one.status == "offline"
        }
        found = definitions(self.principal).values()
        agents = [_agent_to_wire(definition.entry) for definition in found if definition.id not in absent]
        return Response({"agents": agents, "total": len(agents)})

    @action(detail=True, methods=["get"], name="Current Agent")
    def current(self, request: Request, session_id: str) -> Response:
        session = session_get(self.principal, session_id)
        switches = agent_switches(session.stream_id)
        return Response(
            {
                "session_id": session.public_id,
                "current_agent": _current_agent(session, switches),
                "agent_history": [_switch_to_wire(switch) for switch in switches],
                "switch_count": len(switches),
            }
        )


class CodelabSessionViewSet(GatewayViewSet):
    """A session as the IDE restores it after a restart."""

    scope = SESSIONS
    lookup_url_kwarg = "session_id"

    @action(detail=True, methods=["get"], name="Session History")
    def history(self, request: Request, session_id: str) -> Response:
        """Returns the newest messages, the oldest of them first."""
        session = session_get(self.principal, session_id)
        messages = messages_newest(session, limit=limit_of(request, default=100))
        switches = agent_switches(session.stream_id)
        return Response(
            {
                "session_id": session.public_id,
                "messages": [_message_to_wire(message) for message in messages],
                "message_count": session.message_count,
                "last_activity": iso_ms(session.updated_at),
                "current_agent": _current_agent(session, switches),
                "agent_history": [_switch_to_wire(switch) for switch in switches],
            }
        )

    @action(detail=True, methods=["get"], url_path="pending-approvals", name="Pending Approvals")
    def pending_approvals(self, request: Request, session_id: str) -> Response:
        session = session_get(self.principal, session_id)
        approvals = [
            {
                "request_id": approval.approval_id,
                "request_type": "tool",
                "subject": approval.tool_name,
                "details": {"arguments": approval.args},
                "reason": approval.hint,
                "created_at": approval.requested_at,
                "call_id": approval.call_id,
                "tool_name": approval.tool_name,
                "arguments": approval.args,
            }
            for approval in pending(session.stream_id).approvals
        ]
        return Response({"session_id": session.public_id, "pending_approvals": approvals, "count": len(approvals)})


class CodelabEventViewSet(GatewayViewSet):
    """The audit log, and counts."""

    scope = SESSIONS

    @action(detail=False, methods=["get"], url_path="audit-log", name="Audit Log")
    def audit_log(self, request: Request) -> Response:
        """Returns the newest entries about a session, or without one of the tenant's audit trail, which needs the scope
        `admin`."""
        limit = limit_of(request, default=100)
        session_id = request.query_params.get("session_id") or None
        event_type = request.query_params.get("event_type") or None
        if session_id is None:
            self.principal.require(ADMIN)
            found = tenant_entries(self.principal.tenant_id, event_type=_searchable(event_type), limit=limit)
        else:
            session = session_get(self.principal, jsontext.clean_text(session_id))
            found = session_entries(session, event_type=event_type, limit=limit)
        filters = {"session_id": session_id, "event_type": event_type, "limit": limit}
        return Response({"audit_log": found, "count": len(found), "filters": filters})

    @action(detail=False, methods=["get"], name="Metrics")
    def metrics(self, request: Request) -> Response:
        return Response({**activity_metrics(self.principal), "timestamp": iso_ms(clock.now())})


def _searchable(text: str | None) -> str | None:
    return None if text is None else jsontext.clean_text(text)


def _agent_to_wire(entry: AgentEntry) -> dict[str, Any]:
    return {
        "type": entry.id,
        "name": entry.name or entry.id,
        "description": entry.description,
        "allowed_tools": list(entry.tools),
        "has_file_restrictions": False,
    }


def _current_agent(session: AgentSession, switches: list[AgentSwitch]) -> str:
    """The newest switch counts, because a runtime's own agent is known from it alone."""
    return switches[-1].to_agent if switches else session.agent or session.model


def _switch_to_wire(switch: AgentSwitch) -> dict[str, Any]:
    return {"from_agent": switch.from_agent, "to_agent": switch.to_agent, "reason": switch.reason, "at": switch.at}


def _message_to_wire(message: Message) -> dict[str, Any]:
    wire: dict[str, Any] = {"role": _ROLES.get(message.role, message.role), "content": message.content}
    if message.calls is not None:
        wire["tool_calls"] = jsontext.decode(message.calls)
    if message.call_id is not None:
        wire["tool_call_id"] = message.call_id
    return wire
