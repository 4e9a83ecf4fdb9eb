"""Shapes of sessions, messages and devices as Agentbus clients see them. Times are seconds since the epoch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.db.models.functions import Length

from core_app import jsontext
from core_app.errors import BadRequest
from sessions_app.models import AgentSession, Message
from sessions_app.selectors import sessions_page
from tenants_app.models import Device
from tenants_app.principal import Principal

MAX_SESSIONS = 200
MAX_METADATA = 4096
"""Characters of the metadata that are read for a session's creator; those of Agentbus sessions are short."""

_ROLES = {"tool_result": "tool"}


def sessions_newest(principal: Principal, limit: int) -> Sequence[AgentSession]:
    """Returns the tenant's open sessions, the newest first; deleted ones are not listed. Raises BadRequest."""
    if not 1 <= limit <= MAX_SESSIONS:
        raise BadRequest(f"'limit' is between 1 and {MAX_SESSIONS}.", field="limit")
    found, _ = sessions_page(principal, before=None, limit=limit, filters=Q(closed_at__isnull=True))
    return found


def client_ids(sessions: Sequence[AgentSession]) -> dict[int, str | None]:
    """Returns by session the client that created it, for those that an Agentbus client created."""
    rows = AgentSession.objects.filter(pk__in=[session.pk for session in sessions]).annotate(size=Length("metadata"))
    small = rows.filter(size__lt=MAX_METADATA).values_list("pk", "metadata")
    return {pk: jsontext.decode(metadata).get("client_id") for pk, metadata in small}


def session_summary(session: AgentSession) -> dict[str, Any]:
    """Returns what the chat methods show of a session."""
    return {
        "session_id": session.public_id,
        "message_count": session.message_count,
        "created_at": session.created_at.timestamp(),
        "updated_at": session.updated_at.timestamp(),
        "state": session.state,
    }


def sessions_to_wire(sessions: Sequence[AgentSession]) -> list[dict[str, Any]]:
    """Returns sessions with the fields of both protocols that share /api/v1/sessions."""
    clients = client_ids(sessions)
    return [_session_to_wire(session, clients.get(session.pk)) for session in sessions]


def _session_to_wire(session: AgentSession, client_id: str | None) -> dict[str, Any]:
    return {
        **session_summary(session),
        "client_id": client_id,
        "id": session.public_id,
        "title": session.title,
        "last_activity": session.updated_at.timestamp(),
        "is_active": session.closed_at is None,
        "current_agent": session.agent or session.model,
    }


def message_to_wire(message: Message) -> dict[str, Any]:
    """Returns a message of the conversation."""
    metadata: dict[str, Any] = {"run_id": message.run_id}
    if message.calls is not None:
        metadata["tool_calls"] = jsontext.decode(message.calls)
    if message.call_id is not None:
        metadata["call_id"] = message.call_id
    return {
        "message_id": message.pk,
        "role": _ROLES.get(message.role, message.role),
        "content": message.content,
        "timestamp": message.created_at.timestamp(),
        "metadata": metadata,
    }


def device_to_wire(device: Device) -> dict[str, Any]:
    """Returns a device."""
    return {
        "device_id": device.device_id,
        "public_key": device.public_key,
        "status": "active" if device.revoked_at is None else "revoked",
        "created_at": device.created_at.timestamp(),
        "last_used_at": device.last_used_at.timestamp() if device.last_used_at is not None else None,
    }
