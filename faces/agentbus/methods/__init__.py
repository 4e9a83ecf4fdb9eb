"""The methods of the Agentbus protocol, a module per noun (docs/protocol-agentbus.md, "Methods")."""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.rpc import Method
from faces.agentbus.caller import Caller
from faces.agentbus.methods import chat, connection, decisions, devices, events, sessions, system

METHODS: Mapping[str, Method[Caller]] = {
    **connection.METHODS,
    **system.METHODS,
    **chat.METHODS,
    **decisions.METHODS,
    **sessions.METHODS,
    **devices.METHODS,
    **events.METHODS,
}
