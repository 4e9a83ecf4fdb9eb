"""The native socket of one session: its requests, its replies, and the events that it shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from core_app.errors import BadRequest, Forbidden, GatewayError, RateLimited, Unauthorized
from core_app.tracing import span
from edge_app.http.asgi import Receive, Send
from edge_app.rest.errors import as_gateway_error
from edge_app.rpc import Dispatcher, Method, Request, admit_principal
from edge_app.sockets.authenticated import AuthenticatedConnection
from edge_app.sockets.close_codes import CloseCode
from events_app.batches import StoredEvent
from events_app.follower import Follower, FollowerReset, Missing
from events_app.positions import dropped_range
from faces.native.socket.actions import ACTIONS, SessionCaller
from faces.native.socket.frames import (
    EVENT_FRAME,
    encode_dropped,
    encode_refusal,
    encode_reply,
    parse_frame,
)
from sessions_app.events import SessionClosed
from tenants_app.principal import SESSIONS_READ, Principal


class SessionConnection(AuthenticatedConnection):
    """An accepted socket of one session. A `read_only` socket (stream token) may ping and nothing else."""

    __slots__ = ()

    required_scope = SESSIONS_READ
    parse = staticmethod(parse_frame)

    def __init__(
        self,
        principal: Principal,
        receive: Receive,
        send: Send,
        *,
        session_id: str,
        read_only: bool,
        follower: Follower,
    ) -> None:
        super().__init__(principal, receive, send, follower=follower)
        self.requests = Actions(self, session_id, read_only)

    def dispatch(self, request: Request) -> None:
        if request.method == "ping":
            self.outbox.put_reply(encode_reply(request, {}))
        else:
            super().dispatch(request)

    def encode_events(self, events: Sequence[StoredEvent], missing: Missing | None) -> list[str]:
        frames = [event.encode(EVENT_FRAME) for event in events]
        if missing is not None:
            frames.insert(0, encode_dropped(missing[1], dropped_range(*missing)))
        return frames

    def encode_reset(self, reset: FollowerReset) -> list[str]:
        return [encode_dropped(reset.after, reset.dropped)]

    def close_after(self, events: Sequence[StoredEvent]) -> CloseCode | None:
        closed = any(event.type == SessionClosed.type for event in events)
        return CloseCode.SESSION_CLOSED if closed else None


class Actions(Dispatcher[SessionCaller]):
    """The actions of one socket."""

    __slots__ = ("_connection", "_read_only", "_session_id")

    methods = ACTIONS

    def __init__(self, connection: SessionConnection, session_id: str, read_only: bool) -> None:
        super().__init__(connection.order)
        self._connection = connection
        self._session_id = session_id
        self._read_only = read_only

    async def admit(self, request: Request, method: Method[SessionCaller]) -> SessionCaller:
        principal = await admit_principal(await self._connection.recheck(), method)
        return SessionCaller(principal, self._session_id)

    def reply(self, request: Request, result: Mapping[str, Any]) -> None:
        self._connection.outbox.put_reply(encode_reply(request, result))

    def refuse(self, request: Request, error: GatewayError) -> None:
        self._connection.outbox.put_reply(encode_refusal(request.method, error, request.id))
        if isinstance(error, Unauthorized):
            self._connection.end(CloseCode.UNAUTHORIZED)

    def objection(self, request: Request) -> GatewayError | None:
        if self._read_only and request.method in self.methods:
            return Forbidden("This socket was opened with a stream token, which may only read.")
        return super().objection(request)

    def unknown_method(self, request: Request) -> GatewayError:
        return BadRequest(f"There is no action {request.method[:64]!r}.", field="action")

    def too_many(self) -> GatewayError:
        return RateLimited(f"A socket may have {self.limit} actions under way; wait for an answer.")

    def error_of(self, cause: Exception) -> GatewayError:
        return as_gateway_error(cause)

    def span(self, request: Request) -> AbstractContextManager[Any]:
        attributes = {"gen_ai.conversation.id": self._session_id, "gateway.action": request.method}
        return span(f"socket {request.method}", attributes, kind="server")
