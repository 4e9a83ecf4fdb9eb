"""The agents of a tenant with their status, as faces show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from django.db.models import Q

from agents_app import registry
from agents_app.directory.entries import (
    Definition,
    Source,
    TenantRef,
    definition_find,
    definitions,
)
from agents_app.directory.status import Status, last_seen, status_of
from agents_app.models import AgentState
from core_app import clock
from core_app.errors import NotFound
from tenants_app.principal import PLATFORM, Principal


@dataclass(frozen=True, slots=True)
class AgentInfo:
    """An agent as faces show it. `timeout` is in seconds; None leaves it to the gateway's settings."""

    id: str
    name: str
    type: str
    capabilities: tuple[str, ...]
    endpoint: str | None
    status: Status
    last_seen: datetime | None
    model: str | None
    system_prompt: str
    tools: tuple[str, ...]
    timeout: float | None
    source: Source


def agents_visible(principal: Principal) -> tuple[AgentInfo, ...]:
    """Returns the agents that the principal's tenant can use, by id. Costs two queries, whatever their number."""
    found = definitions(principal)
    states = _states(principal, list(found))
    return tuple(_info(definition, states.get(_key(definition)), principal) for _, definition in sorted(found.items()))


def agent_find(principal: Principal, agent_id: str) -> AgentInfo:
    """Returns one agent of the principal's tenant. Raises NotFound, also for another tenant's."""
    definition = definition_get(principal, agent_id)
    return _info(definition, _states(principal, [agent_id]).get(_key(definition)), principal)


def definition_get(tenant: TenantRef, agent_id: str) -> Definition:
    """Returns the definition of an agent. Raises NotFound."""
    found = definition_find(tenant, agent_id)
    if found is None:
        raise NotFound(f"There is no agent called {agent_id[:64]!r}.", field="agent")
    return found


def info_of(definition: Definition, state: AgentState | None, *, servable: bool) -> AgentInfo:
    """Returns a definition as faces show it, with its status now. An address of the operator is left out."""
    entry = definition.entry
    return AgentInfo(
        id=entry.id,
        name=entry.name or entry.id,
        type=entry.type,
        capabilities=entry.capabilities,
        endpoint=(entry.endpoint or None) if definition.tenant_id is not None else None,
        status=status_of(definition, state, servable=servable, now=clock.now()),
        last_seen=last_seen(state),
        model=entry.model,
        system_prompt=entry.system_prompt,
        tools=entry.tools,
        timeout=entry.timeout,
        source=definition.source,
    )


def _info(definition: Definition, state: AgentState | None, principal: Principal) -> AgentInfo:
    info = info_of(definition, state, servable=registry.is_servable(definition, principal.tenant_id))
    return replace(info, endpoint=definition.endpoint or None) if principal.allows(PLATFORM) else info


def _states(tenant: TenantRef, agent_ids: Sequence[str]) -> Mapping[tuple[int | None, str], AgentState]:
    rows = AgentState.objects.filter(Q(tenant_id=tenant.tenant_id) | Q(tenant__isnull=True), agent_id__in=agent_ids)
    return {(row.tenant_id, row.agent_id): row for row in rows}


def _key(definition: Definition) -> tuple[int | None, str]:
    return definition.tenant_id, definition.id
