"""WS /rpc, and the other paths at which Agentbus clients look for it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from edge_app.sockets.consumer import SocketConsumer
from faces.agentbus.connection import AgentbusConnection


class AgentbusSocket(SocketConsumer[None]):
    """One socket. Its credential comes in its first request, so the upgrade is refused to nobody."""

    connection = AgentbusConnection

    async def open(self) -> None:
        return None

    def ceiling(self) -> AbstractContextManager[None]:
        """Counts nothing here: `CLIENTS` counts connections of the process, and of a tenant once it has signed in."""
        return nullcontext()

    async def serve(self, opening: None) -> None:
        await AgentbusConnection(self.scope, self.receive, self.base_send).serve()
