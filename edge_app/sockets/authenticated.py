"""A connection whose caller the gate admitted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edge_app.http.asgi import Receive, Send
from edge_app.rpc import Dispatcher, Request
from edge_app.sockets.connection import Connection
from edge_app.sockets.frames import FrameRefused, parse_off_loop
from events_app.batches import StoredEvent
from events_app.deliveries import DELIVERIES
from events_app.follower import Follower
from tenants_app.authentication import KeyWatch
from tenants_app.principal import Principal


class AuthenticatedConnection(Connection):
    """A connection whose key is checked again before each batch of events and at every heartbeat, so that a revoked one
    ends the socket.

    A face sets `parse` and `requests`: a frame is parsed and dispatched, and one that is no request gets its reply.
    """

    __slots__ = ("_watch", "requests")

    required_scope: str | None = None
    """The scope that the key must have for as long as the socket is open."""

    requests: Dispatcher[Any]
    """The requests of this connection."""

    @staticmethod
    def parse(raw: bytes) -> Request:
        """Returns the request of a frame; raises FrameRefused. It is called in a thread for a large frame."""
        raise NotImplementedError("A connection parses its frames, or has its own 'take'.")

    def __init__(self, principal: Principal, receive: Receive, send: Send, *, follower: Follower | None = None) -> None:
        super().__init__(receive, send, follower=follower)
        self._watch = KeyWatch(principal, self.required_scope)

    @property
    def principal(self) -> Principal:
        """The caller, as of the last check."""
        return self._watch.principal

    async def take(self, frame: bytes, *, binary: bool) -> None:
        try:
            request = await parse_off_loop(self.parse, frame)
        except FrameRefused as refused:
            self.outbox.put_reply(refused.reply)
            return
        self.dispatch(request)

    def dispatch(self, request: Request) -> None:
        """Starts a request; a face that answers some of them itself overrides it."""
        self.requests.dispatch(request)

    async def drain(self) -> None:
        await self.requests.drain()

    async def heartbeat(self) -> None:
        await self.recheck()

    async def before_events(self, events: Sequence[StoredEvent]) -> None:
        if not self._watch.fresh:
            await self.recheck()
        await DELIVERIES.prepare(self.principal, events)

    async def recheck(self) -> Principal:
        """Checks the key again and returns what it may do now; raises Unauthorized or Forbidden."""
        return await self._watch.check()
