"""WS /v1/sessions/:id/ws: the session's events and the client's actions on one connection (native contract).

Bare ASGI behind Channels' router: it joins no channel layer and holds no database connection. What is refused before
the upgrade is raised to the gate, which answers it as HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core_app import database
from core_app.errors import RateLimited
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.sockets.close_codes import REASONS, CloseCode
from edge_app.sockets.open_sockets import SOCKETS
from edge_app.sse.consumer import number, path_bind, query_of
from events_app.follower import Follower
from faces.native.socket.connection import Connection
from faces.native.socket.frames import dropped_frame
from faces.native.stream_plan import StreamRequest, stream_plan
from faces.native.stream_tokens import READ_ONLY
from sessions_app.selectors import session_get, session_position
from tenants_app.principal import SESSIONS, Principal


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a socket starts; `finished`: the session is closed, and the client has seen that."""

    stream_id: int
    after: int
    dropped: dict[str, object] | None
    finished: bool


class SessionSocket:
    """The ASGI application; the gate has put the principal into the scope."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path_bind(scope)
        await receive()
        principal: Principal = scope["gateway.principal"]
        principal.require(SESSIONS)
        session_id = scope["url_route"]["kwargs"]["session_id"]
        since = query_of(scope).get("since")
        after = number(since, "since") if since is not None else None
        opening = await database.run(_opening, principal, session_id, after)
        await send({"type": "websocket.accept"})
        if opening.finished:
            await _close(send, CloseCode.SESSION_CLOSED)
            return
        try:
            with FOLLOWERS.counted(principal), SOCKETS.opened():
                await _serve(scope, session_id, principal, opening, receive, send)
        except RateLimited:
            await _close(send, CloseCode.TOO_MANY)


async def _serve(
    scope: Scope, session_id: str, principal: Principal, opening: Opening, receive: Receive, send: Send
) -> None:
    async with Follower(opening.stream_id, after=opening.after) as follower:
        connection = Connection(
            session_id=session_id,
            principal=principal,
            read_only=scope.get(READ_ONLY, False),
            follower=follower,
            receive=receive,
            send=send,
        )
        await connection.run(_first(opening))


def _first(opening: Opening) -> Sequence[str]:
    if opening.dropped is None:
        return ()
    return [dropped_frame(opening.after, opening.dropped)]


def _opening(principal: Principal, session_id: str, after: int | None) -> Opening:
    """`since` starts as SSE does; without it the socket is live, from the head on."""
    session = session_get(principal, session_id)
    head = session_position(session).head
    if after is None:
        return Opening(session.stream_id, head, None, session.closed_at is not None)
    plan = stream_plan(session, StreamRequest(after=after, whole_session=True))
    finished = session.closed_at is not None and plan.after >= head
    return Opening(session.stream_id, plan.after, plan.dropped, finished)


async def _close(send: Send, code: CloseCode) -> None:
    await send({"type": "websocket.close", "code": int(code), "reason": REASONS[code]})
