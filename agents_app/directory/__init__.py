"""The directory of agents: what there is for a tenant, whether it is online, and how it is registered.

This is all that other rooms need of it.
"""

from __future__ import annotations

from agents_app.agent_changes import agent_changes_subscribe, publish_agent_change
from agents_app.directory.selectors import AgentInfo, agent_find, agents_visible
from agents_app.directory.services import (
    REPORTED,
    agent_heartbeat,
    agent_register,
    agent_unregister,
    agent_update,
)

__all__ = [
    "REPORTED",
    "AgentInfo",
    "agent_changes_subscribe",
    "agent_find",
    "agent_heartbeat",
    "agent_register",
    "agent_unregister",
    "agent_update",
    "agents_visible",
    "publish_agent_change",
]
