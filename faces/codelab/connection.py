"""The Codelab socket of one session: its messages, their replies, the events and the tool calls that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from core_app import jsontext
from core_app.errors import Forbidden, GatewayError, Unauthorized
from core_app.tracing import span
from edge_app.http.asgi import Receive, Send
from edge_app.rpc import Dispatcher, Method, Request, admit_principal
from edge_app.sockets.authenticated import AuthenticatedConnection
from edge_app.sockets.close_codes import CloseCode
from events_app.batches import StoredEvent
from events_app.follower import Follower, FollowerReset, Missing
from events_app.positions import dropped_range
from faces.codelab.actions import ACTIONS, SessionCaller
from faces.codelab.frames import (
    encode_dropped,
    encode_received,
    encode_refusal,
    encode_result_reply,
    parse_frame,
)
from faces.codelab.offers import Offers, describe
from faces.codelab.session_view import FRAMES
from sessions_app.events import SessionClosed
from tenants_app.principal import SESSIONS, SESSIONS_READ, Principal
from tools_app.models import ToolCall


class CodelabConnection(AuthenticatedConnection):
    """An accepted socket, which CLIENTS knows by its name."""

    __slots__ = ("_offers", "_seen")

    required_scope = SESSIONS
    read_only = False
    """Whether the socket is offered no tool calls and takes no messages."""

    parse = staticmethod(parse_frame)

    def __init__(
        self,
        principal: Principal,
        receive: Receive,
        send: Send,
        *,
        session_id: str,
        name: str,
        follower: Follower,
    ) -> None:
        super().__init__(principal, receive, send, follower=follower)
        self._seen: int | str = follower.position.wire
        self.requests = Actions(self, session_id)
        self._offers = Offers(follower.stream_id, name, self._offer)

    async def serve(self, first: Sequence[str]) -> None:
        """Serves the socket until it ends."""
        if self.read_only:
            await self.run(first)
            return
        try:
            await self._offers.open()
            await self.run(first)
        finally:
            await self._offers.close()

    async def take(self, frame: bytes, *, binary: bool) -> None:
        # A burst of results waits on the network: an IDE that answers twenty calls at once must not lose four.
        await self.requests.wait_room()
        await super().take(frame, binary=binary)

    def encode_events(self, events: Sequence[StoredEvent], missing: Missing | None) -> list[str]:
        frames: list[str] = [] if missing is None else [encode_dropped(missing[1], dropped_range(*missing))]
        for event in events:
            shown = event.encode(FRAMES)
            frames.extend(shown)
            if not self.read_only:
                frames.extend(self._offers.note(event))
        self._seen = events[-1].position.wire
        return frames

    def encode_reset(self, reset: FollowerReset) -> list[str]:
        return [encode_dropped(reset.after, reset.dropped)]

    def close_after(self, events: Sequence[StoredEvent]) -> CloseCode | None:
        closed = any(event.type == SessionClosed.type for event in events)
        return CloseCode.SESSION_CLOSED if closed else None

    async def _offer(self, call: ToolCall) -> None:
        """Sends a call, unless the key is no longer good. Its offset is that of the newest event shown: a client that
        resumes from it misses nothing, because calls that wait are offered again anyway."""
        try:
            await self.before_events(())
        except GatewayError:
            self.end(self.unauthorized)
            return
        self.outbox.put_events([jsontext.encode_text(describe(call, self._seen))])


class CodelabReader(CodelabConnection):
    """The socket of a caller that may only read: the holder of a stream token, or a caller with the scope
    `sessions:read` but not `sessions`."""

    __slots__ = ()

    required_scope = SESSIONS_READ
    read_only = True


class Actions(Dispatcher[SessionCaller]):
    """The messages of one socket. They take effect in their order, because a client sends a decision and the result of
    the tool without waiting in between. A turn under way holds none of them up."""

    __slots__ = ("_connection", "_session_id")

    methods = ACTIONS
    in_order = True

    def __init__(self, connection: CodelabConnection, session_id: str) -> None:
        super().__init__(connection.order)
        self._connection = connection
        self._session_id = session_id

    async def admit(self, request: Request, method: Method[SessionCaller]) -> SessionCaller:
        principal = await admit_principal(await self._connection.recheck(), method)
        return SessionCaller(principal, self._session_id)

    def reply(self, request: Request, result: Mapping[str, Any]) -> None:
        outbox = self._connection.outbox
        if request.method == "tool_result":
            outbox.put_reply(encode_result_reply(request.params.get("call_id"), request.id))
        elif request.id is not None or request.method == "abort":
            outbox.put_reply(encode_received(request.id))

    def refuse(self, request: Request, error: GatewayError) -> None:
        if request.method == "tool_result":
            reply = encode_result_reply(request.params.get("call_id"), request.id, error.message)
        else:
            reply = encode_refusal(error, request.id)
        self._connection.outbox.put_reply(reply)
        if isinstance(error, Unauthorized):
            self._connection.end(CloseCode.UNAUTHORIZED)

    def objection(self, request: Request) -> GatewayError | None:
        if self._connection.read_only:
            return Forbidden("This socket may only read: sending takes the scope 'sessions', and no stream token.")
        return super().objection(request)

    def span(self, request: Request) -> AbstractContextManager[Any]:
        attributes = {"gen_ai.conversation.id": self._session_id, "gateway.action": request.method}
        return span(f"codelab {request.method}", attributes, kind="server")
