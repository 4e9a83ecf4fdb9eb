"""The base of socket consumers. An idle socket costs its follower and its connection."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

from channels.exceptions import StopConsumer

from core_app.errors import RateLimited
from edge_app.consumer import ChannellessConsumer
from edge_app.followers import FOLLOWERS
from edge_app.sockets.close_codes import CloseCode
from edge_app.sockets.connection import close_message
from edge_app.sockets.open_sockets import SOCKETS


class SocketConsumer(ChannellessConsumer):
    """One socket. The gate has put the principal into the scope.

    A face implements `open`, which may refuse before the upgrade, and `serve`, which runs until the socket ends.
    """

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
