"""WS /ws/:session_id and /api/v1/ws/:session_id: the IDE's socket."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from agents_app.directory.entries import SHARED_RUNTIME
from core_app import database
from core_app.errors import BadRequest, NotFound, Unprocessable
from core_app.ids import new_id
from core_app.shares import Claim
from edge_app.http.log_context import bind_path_ids
from edge_app.http.query import query_of, stream_position
from edge_app.sockets.consumer import SocketConsumer
from edge_app.tokens import READ_ONLY
from events_app.follower import Follower
from events_app.generations import Position
from events_app.positions import Dropped, StreamPosition
from faces.codelab.clients import CLIENTS
from faces.codelab.close_codes import CodelabClose
from faces.codelab.connection import CodelabConnection, CodelabReader
from faces.codelab.errors import INVALID_SESSION
from faces.codelab.frames import encode_dropped, encode_error
from sessions_app.selectors import session_get, session_position
from sessions_app.services.conversation import session_ensure
from tenants_app.principal import SESSIONS, SESSIONS_READ, Principal


@dataclass(frozen=True, slots=True)
class Opening:
    """The place where a socket starts, found `here`, and what its client is told first."""

    stream_id: int
    after: int
    here: StreamPosition
    dropped: Dropped | None = None

    @property
    def start(self) -> Position:
        """The position of `after`."""
        return self.here.at(self.after)


class CodelabSocket(SocketConsumer[Opening | str]):
    """The socket of one session, which is created when it is new. A session that cannot be had is an `error` frame."""

    connection = CodelabConnection

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._name = new_id("cli")

    async def open(self) -> Opening | str:
        bind_path_ids(self.scope)
        self.principal.require(SESSIONS_READ)
        since = query_of(self.scope).get("since")
        after = stream_position(since, "since") if since is not None else None
        claim = Claim(self.principal.tenant_id, self._session_id)
        return await database.run_action(claim, _open, self.principal, self._session_id, after, self._read_only)

    def presence(self, opening: Opening | str) -> AbstractAsyncContextManager[None]:
        if isinstance(opening, str) or self._read_only:
            return nullcontext()
        return CLIENTS.track(opening.stream_id, self._name)

    async def serve(self, opening: Opening | str) -> None:
        if isinstance(opening, str):
            frame = encode_error(opening, INVALID_SESSION)
            await self.base_send({"type": "websocket.send", "text": frame})
            await self.close(CodelabClose.INVALID_SESSION)
            return
        first = [] if opening.dropped is None else [encode_dropped(opening.start, opening.dropped)]
        async with Follower(opening.stream_id, after=opening.start, generations=opening.here.generations) as follower:
            connection = (CodelabReader if self._read_only else CodelabConnection)(
                self.principal,
                self.receive,
                self.base_send,
                session_id=self._session_id,
                name=self._name,
                follower=follower,
            )
            await connection.serve(first)

    @property
    def _read_only(self) -> bool:
        """True for a caller that may only read, for whom no session is created either."""
        return bool(self.scope.get(READ_ONLY)) or not self.principal.allows(SESSIONS)

    @property
    def _session_id(self) -> str:
        return str(self.scope["url_route"]["kwargs"]["session_id"])


def _open(principal: Principal, session_id: str, after: Position | None, read_only: bool) -> Opening | str:
    """Returns where the socket starts: after what the client has seen, or with what comes next. Returns text for a
    session that nothing can be sent to."""
    try:
        session = (
            session_get(principal, session_id)
            if read_only
            else session_ensure(principal=principal, public_id=session_id, agent=_agent_of_new_sessions(principal))
        )
    except (BadRequest, NotFound, Unprocessable) as error:
        return error.message
    if session.closed_at is not None:
        return "The session is closed."
    here = session_position(session)
    if after is None:
        return Opening(session.stream_id, here.head, here)
    found = here.resume(after)
    return Opening(session.stream_id, found.after, here, found.dropped)


def _agent_of_new_sessions(principal: Principal) -> str | None:
    """Returns the runtime of GATEWAY_AGENT_URL, which serves all sessions of this face but those of tenants that have
    chosen a default of their own; else None."""
    chosen = principal.default_agent or principal.default_model
    return SHARED_RUNTIME if settings.GATEWAY_AGENT_URL and not chosen else None
