"""The base of socket consumers: the upgrade, the ceiling, and the count of open sockets.

An idle socket costs its follower and its connection.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, nullcontext
from typing import Any, ClassVar, Generic, TypeVar

from core_app.errors import RateLimited
from edge_app.consumer import ChannellessConsumer
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import Scope
from edge_app.sockets.close_codes import CloseCode, SocketClose
from edge_app.sockets.connection import Connection, close_message
from edge_app.sockets.open_sockets import SOCKETS
from edge_app.sockets.outbox import SendNow

T = TypeVar("T")

FRAME_LIMIT = "gateway.frame_limit"
"""Extension of the ASGI scope: sets the largest message in bytes, and the code and reason with which the server closes
the socket at a larger one. Servers without it leave the check to the connection, which makes it anyway."""


def set_frame_limit(scope: Scope, largest: int, too_large: SocketClose) -> None:
    """Tells the server the size limit of the socket's messages, which may change while it is open."""
    limit = (scope.get("extensions") or {}).get(FRAME_LIMIT)
    if limit is not None:
        limit(largest, int(too_large), too_large.reason)


SEND_NOW = "gateway.send_now"
"""Extension of the ASGI scope: sends a text frame without waiting, and returns False, having sent nothing, where the
client does not keep up or has gone. Servers without it take frames by `send` alone."""


def send_now_of(scope: Scope) -> SendNow | None:
    """Returns the server's way to send a frame at once; None for a server without one."""
    send_now: SendNow | None = (scope.get("extensions") or {}).get(SEND_NOW)
    return send_now


class SocketConsumer(ChannellessConsumer, Generic[T]):
    """One socket. A face implements `open`, which may refuse the upgrade, and `serve`, which runs a `Connection`."""

    connection: ClassVar[type[Connection]] = Connection  # type: ignore[type-abstract]
    """The class that `serve` runs: its limit of frames is the server's, too."""

    async def websocket_connect(self, message: Mapping[str, Any]) -> None:
        """Opens, accepts and serves the socket. A GatewayError of `open` becomes the HTTP response to the upgrade."""
        opening = await self.open()
        async with self.presence(opening):
            await self._accept(opening)

    async def _accept(self, opening: T) -> None:
        set_frame_limit(self.scope, self.connection.max_frame_bytes, self.connection.frame_too_large)
        await self.base_send({"type": "websocket.accept"})
        if (code := self.close_code(opening)) is not None:
            await self.close(code)
            return
        try:
            with self.ceiling(), SOCKETS.track():
                await self.serve(opening)
        except RateLimited:
            await self.close(CloseCode.TOO_MANY)

    async def websocket_disconnect(self, message: Mapping[str, Any]) -> None:
        """Ends a socket whose client left before the upgrade."""

    async def close(self, code: SocketClose) -> None:
        """Closes the accepted socket with a code."""
        await self.base_send(close_message(code))

    # -- hooks ---------------------------------------------------------------------------------------

    @abstractmethod
    async def open(self) -> T:
        """Checks the request and returns what `serve` needs; raises GatewayError to refuse the upgrade."""

    def presence(self, opening: T) -> AbstractAsyncContextManager[None]:
        """Shows the socket to others as connected. It is entered before the upgrade is accepted, so that whoever has
        connected is seen to be, and left when the socket has ended."""
        return nullcontext()

    def close_code(self, opening: T) -> SocketClose | None:
        """Returns the code with which the socket is closed right after it was accepted; None to serve it."""
        return None

    def ceiling(self) -> AbstractContextManager[None]:
        """Counts the socket while it is open; raises RateLimited when there are too many, which closes it (TOO_MANY).

        The default is GATEWAY_MAX_FOLLOWERS_PER_TENANT. A face without a principal here has a count of its own.
        """
        return FOLLOWERS.track(self.principal)

    @abstractmethod
    async def serve(self, opening: T) -> None:
        """Serves the accepted socket until it ends."""
