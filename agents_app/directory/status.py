"""The status of an agent, worked out from what is known of it: the last check, the last heartbeat and its load.

Nothing is assumed: an agent that nobody has checked and that has not reported is offline.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from django.conf import settings

from agents_app.directory.entries import ENDPOINT_TYPES, PROGRAM_TYPES, Definition
from agents_app.models import AgentState

Status = Literal["online", "offline", "busy"]

HEARTBEAT_SECONDS = 60.0
"""The time for which an agent's own report holds."""


def status_of(definition: Definition, state: AgentState | None, *, servable: bool, now: datetime) -> Status:
    """Returns the status. `servable` says for an agent that the gateway runs itself whether it can: its model has a
    provider, its engine is there.

    A check outweighs a heartbeat, because an agent that cannot be called is offline whatever it says of itself.
    """
    if not _is_online(definition, state, servable, now):
        return "offline"
    if state is None:
        return "online"
    if _is_fresh(state, now) and state.reported == "busy":
        return "busy"
    limit = definition.entry.max_running or settings.GATEWAY_AGENT_BUSY_RUNS
    return "busy" if limit and state.running >= limit else "online"


def last_seen(state: AgentState | None) -> datetime | None:
    """Returns when the agent last reported or was last found well."""
    if state is None:
        return None
    seen = [state.heartbeat_at, state.checked_at if state.result == "ok" else None]
    return max((moment for moment in seen if moment is not None), default=None)


def is_checked(definition: Definition) -> bool:
    """True for an agent that the periodic checks can look at: a program or an address."""
    return bool(definition.command or definition.endpoint)


def _is_online(definition: Definition, state: AgentState | None, servable: bool, now: datetime) -> bool:
    if definition.entry.type not in PROGRAM_TYPES + ENDPOINT_TYPES:
        return servable
    if state is None:
        return False
    if is_checked(definition) and state.result and state.checked_at is not None:
        return state.result == "ok" and now - state.checked_at < _check_lifetime()
    return state.result != "refused" and _is_fresh(state, now) and state.reported != "offline"


def _is_fresh(state: AgentState, now: datetime) -> bool:
    return state.heartbeat_at is not None and now - state.heartbeat_at < timedelta(seconds=HEARTBEAT_SECONDS)


def _check_lifetime() -> timedelta:
    """The time for which a check holds: some rounds may come late."""
    return timedelta(seconds=max(HEARTBEAT_SECONDS, 4 * settings.GATEWAY_AGENT_CHECK_SECONDS))
