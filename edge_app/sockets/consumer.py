"""The base of socket consumers: Channels' AsyncConsumer without a channel of its own.

A stock consumer opens a channel on the layer for each socket, has a task for each message and hops to a thread for
each. This one does none of it: the hub is the layer's only client, and `receive` is awaited where frames are read.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Generic, TypeVar

from channels.consumer import AsyncConsumer, get_handler_name

from core_app.errors import RateLimited
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.sockets.close_codes import CloseCode, SocketClose
from edge_app.sockets.connection import close_message
from edge_app.sockets.open_sockets import SOCKETS
from tenants_app.principal import Principal

T = TypeVar("T")


class SocketConsumer(AsyncConsumer, Generic[T]):  # type: ignore[misc]  # Channels ships no types
    """One socket. A face implements `open`, which may refuse the upgrade, and `serve`, which runs a `Connection`."""

    channel_layer_alias = ""
    """Names no layer, so that no code of Channels opens one."""

    __slots__ = ("base_send", "receive", "scope")

    scope: Scope
    receive: Receive

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """Returns the application that serves each socket with an instance of its own. Like `dispatch` it is no
        coroutine, because an open socket would hold it in memory."""

        def application(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            return cls(**initkwargs)(scope, receive, send)

        return application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.base_send = scope, receive, send
        await self.dispatch(await receive())

    def dispatch(self, message: Mapping[str, Any]) -> Awaitable[None]:
        """Calls the handler of the message."""
        handled: Awaitable[None] = getattr(self, get_handler_name(message))(message)
        return handled

    async def websocket_connect(self, message: Mapping[str, Any]) -> None:
        """Opens, accepts and serves the socket. A GatewayError of `open` becomes the HTTP response to the upgrade."""
        opening = await self.open()
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

    @property
    def principal(self) -> Principal:
        """The caller, whom the gate admitted; absent where the route needs no key."""
        principal: Principal = self.scope["gateway.principal"]
        return principal

    # -- hooks ---------------------------------------------------------------------------------------

    @abstractmethod
    async def open(self) -> T:
        """Checks the request and returns what `serve` needs; raises GatewayError to refuse the upgrade."""

    def close_code(self, opening: T) -> SocketClose | None:
        """Returns the code with which the socket is closed right after it was accepted; None to serve it."""
        return None

    def ceiling(self) -> AbstractContextManager[None]:
        """Counts the socket while it is open; raises RateLimited when there are too many, which closes it (TOO_MANY).

        The default is GATEWAY_MAX_FOLLOWERS_PER_TENANT. A face without a principal here has a count of its own.
        """
        return FOLLOWERS.counted(self.principal)

    @abstractmethod
    async def serve(self, opening: T) -> None:
        """Serves the accepted socket until it ends."""
