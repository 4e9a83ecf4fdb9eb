"""The fields that an engine reads from its agent's definition, checked when a leg starts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from pydantic import BaseModel, ValidationError

from agents_app.directory.entries import Definition, configured_agents, definition_find
from agents_app.engine import Failed, Leg, SessionSpec
from agents_app.exchange import AgentError
from core_app import database
from tenants_app.models import Tenant

Fields = TypeVar("Fields", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class AgentSettings(Generic[Fields]):
    """An agent's fields in the form that its engine needs. `trusted`: the operator defined it. `allow_private`: it may
    name private addresses, as the operator's agents may, and those of tenants that the operator allows it."""

    fields: Fields
    trusted: bool
    allow_private: bool


async def agent_settings(leg: Leg, kind: type[Fields]) -> AgentSettings[Fields]:
    """Returns the agent's fields as `kind`. Raises AgentError when the agent is gone or its definition is invalid, and
    for a definition that the leg's engine cannot have been meant for."""
    agent_id = leg.session.agent or leg.session.model.partition(":")[2]
    found, allow_private = await _find(leg.session, agent_id)
    if found is None:
        raise AgentError(Failed("unprocessable", f"There is no agent called {agent_id[:64]!r}."))
    try:
        fields = kind.model_validate(found.entry.model_dump(exclude_none=True))
    except ValidationError as error:
        fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = ".".join(str(step) for step in fault["loc"] if not str(step).startswith("function-"))
        reason = f"The agent {agent_id!r} is not configured: {path or 'entry'} of agents.{agent_id} is invalid."
        raise AgentError(Failed("unprocessable", reason), logged=fault["msg"]) from None
    return AgentSettings(fields, found.trusted, allow_private)


async def _find(session: SessionSpec, agent_id: str) -> tuple[Definition | None, bool]:
    """Looks in the configuration first, which costs no query."""
    if (found := configured_agents().get(agent_id)) is not None:
        return (found if found.entry.enabled else None), True
    return await database.run(_find_row, session, agent_id)


def _find_row(session: SessionSpec, agent_id: str) -> tuple[Definition | None, bool]:
    found = definition_find(session, agent_id)
    if found is None or found.trusted:
        return found, True
    return found, Tenant.objects.get(pk=session.tenant_id).allow_private
