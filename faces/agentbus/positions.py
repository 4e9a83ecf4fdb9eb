"""Positions from which a client sees a session: what it saw last, or what comes next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from core_app.errors import BadRequest, SessionNotFound
from sessions_app.models import AgentSession
from sessions_app.selectors import session_get, session_position
from tenants_app.principal import SESSIONS, Principal

MAX_RESUMED = 200
"""Sessions that one `connect` may name in `last_seq`."""


@dataclass(frozen=True, slots=True)
class FollowFrom:
    """A session's stream, and the offset after which it is followed."""

    stream_id: int
    session_id: str
    after: int


def follow_from(session: AgentSession, since: int | str | None) -> FollowFrom:
    """Returns where a client that saw `since` goes on; without it, what comes next. Raises BadRequest."""
    head = session_position(session).head
    if since is None:
        return FollowFrom(session.stream_id, session.public_id, head)
    text = str(since)
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest("'since' is a position: the 'id' of the last 'session.event'.", field="since")
    return FollowFrom(session.stream_id, session.public_id, min(int(text), head))


def sessions_to_resume(principal: Principal, last_seen: Mapping[str, int | str]) -> Sequence[FollowFrom]:
    """Returns where a client goes on in each of its sessions; those that are no longer there are left out."""
    principal.require(SESSIONS)
    if len(last_seen) > MAX_RESUMED:
        raise BadRequest(f"'last_seq' names at most {MAX_RESUMED} sessions.", field="last_seq")
    found = []
    for public_id, since in last_seen.items():
        try:
            found.append(follow_from(session_get(principal, public_id), since))
        except SessionNotFound:
            continue
    return found
