"""The base of socket consumers: Channels' AsyncConsumer without a channel of its own.

A stock consumer opens a channel on the layer for each socket and hops to a thread for each message. This one does
neither: the hub is the layer's only client, and `receive` is awaited where frames are read. An idle socket costs its
follower and its connection.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer

from core_app.errors import RateLimited
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.sockets.close_codes import CloseCode
from edge_app.sockets.connection import close_message
from edge_app.sockets.open_sockets import SOCKETS
from tenants_app.principal import Principal


class SocketConsumer(AsyncConsumer):  # type: ignore[misc]  # Channels ships no types
    """One socket. The gate has put the principal into the scope.

    A face implements `open`, which may refuse before the upgrade, and `serve`, which runs until the socket ends.
    """

    channel_layer_alias = ""
    """Names no layer, so that no code of Channels opens one."""

    scope: Scope
    receive: Receive

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.base_send = scope, receive, send
        try:
            await self.dispatch(await receive())
        except StopConsumer:
            return

    async def dispatch(self, message: Mapping[str, Any]) -> None:
        """Calls the handler of the message on the loop."""
        await getattr(self, get_handler_name(message))(message)

    @property
    def principal(self) -> Principal:
        """The caller, whom the gate admitted."""
        principal: Principal = self.scope["gateway.principal"]
        return principal

    async def websocket_connect(self, message: Mapping[str, Any]) -> None:
        """Opens, accepts and serves the socket. A GatewayError of `open` becomes the HTTP response to the upgrade."""
        opening = await self.open()
        await self.base_send({"type": "websocket.accept"})
        if (code := self.close_code(opening)) is not None:
            await self.close(code)
            raise StopConsumer
        try:
            with FOLLOWERS.counted(self.principal), SOCKETS.track():
                await self.serve(opening)
        except RateLimited:
            await self.close(CloseCode.TOO_MANY)
        raise StopConsumer

    async def websocket_disconnect(self, message: Mapping[str, Any]) -> None:
        """Ends a socket whose client left before the upgrade."""
        raise StopConsumer

    async def close(self, code: CloseCode) -> None:
        """Closes the accepted socket with a code."""
        await self.base_send(close_message(code))

    @abstractmethod
    async def open(self) -> Any:
        """Checks the request and returns what `serve` needs; raises GatewayError to refuse the upgrade."""

    def close_code(self, opening: Any) -> CloseCode | None:
        """Returns the code with which the socket is closed right after it was accepted, or None to serve it."""
        return None

    @abstractmethod
    async def serve(self, opening: Any) -> None:
        """Serves the accepted socket until it ends."""
