"""The tenant's agents as this protocol shows them, and as routing sees them."""

from __future__ import annotations

from agents_app import registry
from core_app.errors import Unprocessable
from faces.mesh.errors import AgentNotFound
from faces.mesh.routing import Candidate
from tenants_app.principal import Principal


def candidates(principal: Principal) -> list[Candidate]:
    """Returns the agents that the tenant can use."""
    return [Candidate(agent.id, frozenset(agent.capabilities), "online") for agent in registry.agents_all()]


def agent_require(principal: Principal, agent_id: str) -> Candidate:
    """Returns one agent. Raises AgentNotFound."""
    try:
        agent = registry.agent_get(agent_id)
    except Unprocessable:
        raise AgentNotFound(f"There is no agent {agent_id[:64]!r}.") from None
    return Candidate(agent.id, frozenset(agent.capabilities), "online")


def agents_shown(principal: Principal) -> list[dict[str, str]]:
    """Returns the agents as `/health` and the event `welcome` have them."""
    return [{"id": agent.id, "name": agent.name or agent.id, "status": "online"} for agent in registry.agents_all()]
