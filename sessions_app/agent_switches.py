"""Switches of a session's agent, as its log tells of them.

Clients switch the session's agent; an agent runtime may also switch between agents of its own, and says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agents_app.events import AgentEvent
from core_app import jsontext
from events_app import log
from sessions_app.events import SessionUpdated

SWITCHED = "agent_switched"
"""The name of the event by which a runtime tells that another of its agents goes on."""

MAX_SWITCHES = 100

_TEXTS = {SessionUpdated.type: '"agent"', AgentEvent.type: f'"{SWITCHED}"'}


@dataclass(frozen=True, slots=True)
class AgentSwitch:
    """One switch. `from_agent` is None where nobody told it."""

    offset: int
    from_agent: str | None
    to_agent: str
    reason: str | None
    at: str


def agent_switches(stream_id: int) -> list[AgentSwitch]:
    """Returns the newest MAX_SWITCHES switches that the log still has, the oldest of them first."""
    found: list[AgentSwitch] = []
    for event in log.read_newest(stream_id, texts=_TEXTS, limit=MAX_SWITCHES):
        data = jsontext.decode(event.data)
        told = parse_switch(event.type, data)
        if told is None:
            continue
        former, to_agent, reason = told
        if former is None and found:
            former = found[-1].to_agent
        found.append(AgentSwitch(event.offset, former, to_agent, reason, data["at"]))
    return found


def parse_switch(event_type: str, data: Mapping[str, Any]) -> tuple[str | None, str, str | None] | None:
    """Returns the agent before, the agent after and the reason of an event that tells of a switch, None for any other.
    What a runtime sends is not trusted to have the right types."""
    if event_type == SessionUpdated.type:
        changed = data["changed"]
        if not isinstance(changed, dict) or not isinstance(agent := changed.get("agent"), str):
            return None
        return None, agent, _text(changed.get("reason"))
    told = data.get("data")
    if event_type != AgentEvent.type or data.get("name") != SWITCHED or not isinstance(told, dict):
        return None
    to_agent = _text(told.get("to_agent")) or _text(told.get("agent_type"))
    return None if to_agent is None else (_text(told.get("from_agent")), to_agent, _text(told.get("reason")))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
