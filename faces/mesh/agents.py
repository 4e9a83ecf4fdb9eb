"""The tenant's agents as this protocol shows them, as routing sees them, and their changes as live events."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agents_app.agent_changes import Kind
from agents_app.directory import AgentInfo, agent_find, agents_visible
from core_app.errors import NotFound
from events_app import log
from events_app.types import Event
from faces.mesh.errors import AgentNotFound
from faces.mesh.events import AgentRegistered, AgentStatus, AgentUnregistered
from faces.mesh.models import MeshStream
from faces.mesh.routing import Candidate
from faces.mesh.wire import milliseconds
from tenants_app.principal import Principal


def candidates(principal: Principal) -> list[Candidate]:
    """Returns the agents that the tenant can use."""
    return [_candidate(agent) for agent in agents_visible(principal)]


def agent_require(principal: Principal, agent_id: str) -> Candidate:
    """Returns one agent. Raises AgentNotFound."""
    with agent_errors():
        return _candidate(agent_find(principal, agent_id))


@contextmanager
def agent_errors() -> Iterator[None]:
    """Turns the directory's NotFound into this protocol's error."""
    try:
        yield
    except NotFound as error:
        raise AgentNotFound(error.message) from None


def agents_shown(principal: Principal) -> list[dict[str, Any]]:
    """Returns the agents as `/health` and the event `welcome` have them."""
    return [{"id": agent.id, "name": agent.name, "status": agent.status} for agent in agents_visible(principal)]


def agent_to_wire(agent: AgentInfo) -> dict[str, Any]:
    """Returns an agent as lists have it."""
    return {
        "id": agent.id,
        "name": agent.name,
        "type": agent.type,
        "capabilities": list(agent.capabilities),
        "status": agent.status,
        "endpoint": agent.endpoint,
        "lastSeen": None if agent.last_seen is None else milliseconds(agent.last_seen),
    }


def agent_details(agent: AgentInfo) -> dict[str, Any]:
    """Returns an agent with the fields that only its own page shows."""
    return {
        **agent_to_wire(agent),
        "model": agent.model,
        "system_prompt": agent.system_prompt,
        "tools": list(agent.tools),
        "timeout": agent.timeout,
    }


def agent_changed(tenant_id: int | None, kind: Kind, agent: AgentInfo) -> None:
    """Appends a change of an agent to the streams of those who see it, in the transaction of the change."""
    streams = MeshStream.objects.all() if tenant_id is None else MeshStream.objects.filter(tenant_id=tenant_id)
    stream_ids = sorted(streams.values_list("stream_id", flat=True))
    log.lock_all(stream_ids)
    log.append_each(stream_ids, _change_event(kind, agent))


def _change_event(kind: Kind, agent: AgentInfo) -> Event:
    if kind == "registered":
        return AgentRegistered(agent_id=agent.id, agent=agent_to_wire(agent))
    if kind == "unregistered":
        return AgentUnregistered(agent_id=agent.id)
    return AgentStatus(agent_id=agent.id, status=agent.status)


def _candidate(agent: AgentInfo) -> Candidate:
    return Candidate(agent.id, frozenset(agent.capabilities), agent.status)
