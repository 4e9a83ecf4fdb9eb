"""WS /v1/sessions/:id/ws: the events of a session and the client's actions on one connection.

docs/protocol-native.md, "The WebSocket". A refusal before the upgrade is raised to the gate, which
sends it as HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from core_app import database
from core_app.shares import Claim
from edge_app.http.log_context import bind_path_ids
from edge_app.http.query import query_of, stream_position
from edge_app.sockets.close_codes import CloseCode
from edge_app.sockets.consumer import SocketConsumer
from edge_app.tokens import READ_ONLY
from events_app.follower import Follower
from events_app.generations import Position
from events_app.positions import Dropped, StreamPosition
from faces.native.socket.connection import SessionConnection
from faces.native.socket.frames import encode_dropped
from faces.native.stream_plan import StreamRequest, stream_plan
from sessions_app.selectors import session_get, session_position
from tenants_app.principal import SESSIONS_READ, Principal


@dataclass(frozen=True, slots=True)
class Opening:
    """The place where a socket starts, found `here`. `finished`: the session is closed, and the client has seen that;
    `over`: likewise, and it has to be told first what is lost."""

    session_id: str
    stream_id: int
    after: int
    here: StreamPosition
    dropped: Dropped | None = None
    finished: bool = False
    over: bool = False

    @property
    def start(self) -> Position:
        """The position of `after`."""
        return self.here.at(self.after)


class SessionSocket(SocketConsumer[Opening]):
    """The socket of one session."""

    connection = SessionConnection

    async def open(self) -> Opening:
        bind_path_ids(self.scope)
        self.principal.require(SESSIONS_READ)
        session_id = self.scope["url_route"]["kwargs"]["session_id"]
        since = query_of(self.scope).get("since")
        after = stream_position(since, "since") if since is not None else None
        claim = Claim(self.principal.tenant_id, session_id)
        return await database.run_action(claim, _find_opening, self.principal, session_id, after)

    def close_code(self, opening: Opening) -> CloseCode | None:
        return CloseCode.SESSION_CLOSED if opening.finished else None

    async def serve(self, opening: Opening) -> None:
        if opening.over:
            for frame in _first_frames(opening):
                await self.base_send({"type": "websocket.send", "text": frame})
            await self.close(CloseCode.SESSION_CLOSED)
            return
        stream_id, generations = opening.stream_id, opening.here.generations
        async with Follower(stream_id, after=opening.start, generations=generations) as follower:
            connection = SessionConnection(
                self.principal,
                self.receive,
                self.base_send,
                session_id=opening.session_id,
                read_only=self.scope.get(READ_ONLY, False),
                follower=follower,
            )
            await connection.run(_first_frames(opening))


def _first_frames(opening: Opening) -> Sequence[str]:
    return () if opening.dropped is None else [encode_dropped(opening.start, opening.dropped)]


def _find_opening(principal: Principal, session_id: str, after: Position | None) -> Opening:
    """With `since` the socket starts as SSE does; without it the socket is live, from the head on."""
    session = session_get(principal, session_id)
    if after is None:
        here = session_position(session)
        return Opening(session_id, session.stream_id, here.head, here, finished=session.closed_at is not None)
    plan = stream_plan(session, StreamRequest(after=after, whole_session=True))
    finished = session.closed_at is not None and plan.after >= plan.here.head and not plan.over
    return Opening(session_id, session.stream_id, plan.after, plan.here, plan.dropped, finished, plan.over)
