"""A connection whose caller the gate admitted."""

from __future__ import annotations

from edge_app.http.asgi import Receive, Send
from edge_app.sockets.connection import Connection
from events_app.follower import Follower
from tenants_app.authentication import KeyWatch
from tenants_app.principal import Principal


class AuthenticatedConnection(Connection):
    """A connection whose key is checked again before each batch of events and at every heartbeat, so that a revoked one
    ends the socket."""

    __slots__ = ("_watch",)

    required_scope: str | None = None
    """The scope that the key must have for as long as the socket is open."""

    def __init__(self, principal: Principal, receive: Receive, send: Send, *, follower: Follower | None = None) -> None:
        super().__init__(receive, send, follower=follower)
        self._watch = KeyWatch(principal, self.required_scope)

    @property
    def principal(self) -> Principal:
        """The caller, as of the last check."""
        return self._watch.principal

    async def heartbeat(self) -> None:
        await self.recheck()

    async def before_events(self) -> None:
        if not self._watch.fresh:
            await self.recheck()

    async def recheck(self) -> Principal:
        """Checks the key again and returns what it may do now; raises Unauthorized or Forbidden."""
        return await self._watch.check()
