"""Positions from which a client sees a session: what it saw last, or what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core_app.errors import BadRequest, SessionNotFound
from edge_app.http.query import stream_position
from events_app.generations import Position
from events_app.positions import Dropped, StreamPosition
from sessions_app.models import AgentSession
from sessions_app.selectors import session_get, session_position
from tenants_app.principal import SESSIONS_READ, Principal

MAX_RESUMED = 200
"""Sessions that one `connect` may name in `last_seq`."""


@dataclass(frozen=True, slots=True)
class FollowFrom:
    """A session's stream, the offset after which it is followed, found `here`, and what its client is told first."""

    stream_id: int
    session_id: str
    after: int
    here: StreamPosition
    dropped: Dropped | None = None

    @property
    def start(self) -> Position:
        """The position of `after`."""
        return self.here.at(self.after)


def follow_from(session: AgentSession, since: int | str | None) -> FollowFrom:
    """Returns where a client that saw `since` goes on; without it, what comes next. Raises BadRequest."""
    here = session_position(session)
    if since is None:
        return FollowFrom(session.stream_id, session.public_id, here.head, here)
    found = here.resume(stream_position(str(since), "since"))
    return FollowFrom(session.stream_id, session.public_id, found.after, here, found.dropped)


def sessions_to_resume(
    principal: Principal, last_seen: Mapping[str, int | str]
) -> tuple[Sequence[FollowFrom], Mapping[str, SessionNotFound]]:
    """Returns where a client goes on in each of its sessions, and why it does not in those that are not there: they
    were erased, or lost when the database went back in time."""
    principal.require(SESSIONS_READ)
    if len(last_seen) > MAX_RESUMED:
        raise BadRequest(f"'last_seq' names at most {MAX_RESUMED} sessions.", field="last_seq")
    found: list[FollowFrom] = []
    gone: dict[str, SessionNotFound] = {}
    for public_id, since in last_seen.items():
        try:
            found.append(follow_from(session_get(principal, public_id), since))
        except SessionNotFound as error:
            gone[public_id] = error
    return found, gone
