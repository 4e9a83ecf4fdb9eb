"""WS /v1/responses: `responses.connect()` of OpenAI's clients."""

from __future__ import annotations

from edge_app.sockets.close_codes import SocketClose
from edge_app.sockets.consumer import SocketConsumer
from faces.responses.socket.close_codes import standard_code
from faces.responses.socket.connection import ResponsesConnection
from tenants_app.principal import INFERENCE


class ResponsesSocket(SocketConsumer[None]):
    """One socket. Its key is checked at the upgrade, which is refused without it."""

    connection = ResponsesConnection

    async def open(self) -> None:
        self.principal.require(INFERENCE)

    async def close(self, code: SocketClose) -> None:
        await super().close(standard_code(code))

    async def serve(self, opening: None) -> None:
        await ResponsesConnection(self.principal, self.scope, self.receive, self.base_send).serve()
