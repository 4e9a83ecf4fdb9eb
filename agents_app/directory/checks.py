"""Periodic checks of agents: whether their programs are here, whether their addresses answer, and what they have to do.

They run where legs run, because that is where a program has to be. One process at a time claims the agents that are
due, so each is checked once per round, however many processes there are. Requests only read what was found.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Q

from agents_app import registry
from agents_app.agent_load import LOAD, Running
from agents_app.directory.entries import Definition, configured_agents, definition_of, shipped_agents
from agents_app.directory.selectors import info_of
from agents_app.directory.services import state_announce, state_lock
from agents_app.directory.status import is_checked
from agents_app.models import Agent, AgentState
from core_app import clock, database
from core_app.database import advisory_lock, write_transaction
from core_app.guarded_client import CLIENT, AddressRefused, CallFailed
from core_app.lifecycle import Periodic, process_wide
from tenants_app.models import Tenant

BATCH = 200
"""Agents of tenants that one round looks at; those that were not looked at for longest come first."""

AT_ONCE = 16
ANSWER_SECONDS = 5.0
MAX_BYTES = 64 * 1024
IDLE_SECONDS = 5.0
"""The pause of a process whose checks are switched off, until it looks at the setting again."""

_LOCK = 0x6167656E7473
"""Key of the advisory lock: `agents` in ASCII."""


@dataclass(frozen=True, slots=True)
class Due:
    """An agent to be checked. `allow_private`: its address may be private."""

    definition: Definition
    allow_private: bool


class AgentChecks(Periodic):
    """The loop of the checks; a part of the process (`core_app.lifecycle`)."""

    def __init__(self) -> None:
        super().__init__("agent_checks", self.check, _pause)

    async def check(self) -> None:
        """Checks all agents that are due, and stores what was found. GATEWAY_AGENT_CHECK_SECONDS=0: does nothing."""
        if settings.GATEWAY_AGENT_CHECK_SECONDS <= 0:
            return
        due = await database.run(_claim)
        slots = asyncio.Semaphore(AT_ONCE)

        async def look(agent: Due) -> str:
            async with slots:
                return await _look(agent)

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(look(agent)) for agent in due]
        if due:
            await database.run(_store, due, [task.result() for task in tasks])


def _pause() -> float:
    return float(settings.GATEWAY_AGENT_CHECK_SECONDS) or IDLE_SECONDS


async def _look(agent: Due) -> str:
    """Returns what a check finds: `ok`, `failed`, `refused`, or nothing where there is nothing to check."""
    definition = agent.definition
    if definition.command:
        found = await asyncio.to_thread(shutil.which, definition.command)
        return "ok" if found else "failed"
    if not definition.endpoint:
        return ""
    try:
        # Any answer will do: an agent need not know GET, and what it costs is not the check's to spend.
        await CLIENT.request(
            "GET",
            definition.endpoint,
            timeout=ANSWER_SECONDS,
            max_bytes=MAX_BYTES,
            head_only=True,
            allow_private=agent.allow_private,
            owner=definition.tenant_id,
        )
    except AddressRefused:
        return "refused"
    except CallFailed:
        return "failed"
    return "ok"


def _claim() -> list[Due]:
    """Returns the agents that are due, and makes them due again after the pause."""
    with advisory_lock(_LOCK) as mine:
        if not mine:
            return []
        now = clock.now()
        due = _due_of_all(now) + _due_of_tenants(now)
        with write_transaction():
            for agent in due:
                state = state_lock(agent.definition.tenant_id, agent.definition.id)
                state.due_at = now + timedelta(seconds=settings.GATEWAY_AGENT_CHECK_SECONDS)
                state.save(update_fields=["due_at"])
        return due


def _due_of_all(now: datetime) -> list[Due]:
    """The agents of the configuration and the operator's rows, whose number is the operator's."""
    rows = {row.public_id: definition_of(row) for row in Agent.objects.filter(tenant__isnull=True)}
    later = set(
        AgentState.objects.filter(tenant__isnull=True, due_at__gt=now).values_list("agent_id", flat=True),
    )
    found = {**shipped_agents(), **rows, **configured_agents()}.values()
    return [Due(definition, True) for definition in found if definition.entry.enabled and definition.id not in later]


def _due_of_tenants(now: datetime) -> list[Due]:
    states = AgentState.objects.filter(tenant__isnull=False, due_at__lte=now).order_by("due_at")[:BATCH]
    keys = [(state.tenant_id, state.agent_id) for state in states]
    if not keys:
        return []
    tenants = Tenant.objects.in_bulk({tenant_id for tenant_id, _ in keys if tenant_id is not None})
    rows = Agent.objects.filter(
        Q(*(Q(tenant_id=tenant_id, public_id=agent_id) for tenant_id, agent_id in keys), _connector=Q.OR)
    )
    definitions = {(row.tenant_id, row.public_id): definition_of(row) for row in rows}
    return [
        Due(definitions[key], definitions[key].trusted or tenants[key[0]].allow_private)
        for key in keys
        if key in definitions and key[0] in tenants
    ]


def _store(due: Sequence[Due], results: Sequence[str]) -> None:
    running = LOAD.running()
    for agent, result in zip(due, results, strict=True):
        with write_transaction():
            _store_one(agent.definition, result, running)


def _store_one(definition: Definition, result: str, running: Running) -> None:
    tenant_id = definition.tenant_id
    if tenant_id is not None and not Agent.objects.filter(tenant_id=tenant_id, public_id=definition.id).exists():
        return
    state = state_lock(tenant_id, definition.id)
    if is_checked(definition):
        state.result, state.checked_at = result, clock.now()
    state.running = sum(
        count for (owner, name), count in running.items() if name == definition.id and tenant_id in (None, owner)
    )
    state_announce(state, info_of(definition, state, servable=registry.is_servable(definition, tenant_id)))
    state.save()


AGENT_CHECKS = process_wide(AgentChecks())
"""Process-wide instance, started by `Gateway`."""
