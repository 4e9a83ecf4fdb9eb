"""Channels' AsyncConsumer without a channel of its own: the base of event streams and sockets.

A stock consumer opens a channel on the layer for every connection, makes a task for every message and hops to a thread
before it handles one. This one does none of it: the hub is the layer's only client, and a handler receives further
messages itself.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from channels.consumer import AsyncConsumer, get_handler_name
from channels.exceptions import StopConsumer

from edge_app.http.asgi import Receive, Scope, Send
from tenants_app.principal import Principal


class ChannellessConsumer(AsyncConsumer):  # type: ignore[misc]  # Channels ships no types
    """One connection. The gate has put the principal into the scope.

    The handler of the first message serves the whole connection, which is over when it returns or raises StopConsumer.
    """

    channel_layer_alias = ""
    """Names no layer, so that no code of Channels opens one."""

    scope: Scope
    receive: Receive
    base_send: Send

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
        """Returns the application that serves each connection with an instance of its own. Channels' own is a coroutine
        around the consumer's, which every open connection holds and every event passes through."""

        def application(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
            return cls(**initkwargs)(scope, receive, send)

        return application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scope, self.receive, self.base_send = scope, receive, send
        try:
            await self.dispatch(await receive())
        except StopConsumer:
            return

    def dispatch(self, message: Mapping[str, Any]) -> Awaitable[None]:
        """Calls the handler of the message on the loop. It is no coroutine itself: each one that stands around a stream
        is passed through for every event."""
        handled: Awaitable[None] = getattr(self, get_handler_name(message))(message)
        return handled

    @property
    def principal(self) -> Principal:
        """The caller, whom the gate admitted."""
        principal: Principal = self.scope["gateway.principal"]
        return principal
