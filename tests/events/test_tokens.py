"""Stream tokens below the faces: a token reads the stream it was issued for, on whatever path shows that stream."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from core_app import clock, database
from core_app.database import write_transaction
from core_app.errors import NotFound, SessionNotFound, Unauthorized
from edge_app.tokens import READ_ONLY, StreamTokens, TokenRoute
from events_app import log
from events_app.models import Stream, StreamToken
from events_app.removal import streams_remove
from events_app.tokens import stream_token_issue
from faces.native.stream_tokens import TOKEN_PRINCIPAL
from sessions_app.models import AgentSession, SessionGroup
from sessions_app.services.session import SessionRequest, session_create
from sessions_app.services.stream_token import group_token_issue, session_token_issue
from tenants_app.principal import SCOPES, SESSIONS_READ
from tests.conftest import Caller

pytestmark = pytest.mark.django_db(transaction=True)

GROUP_TOKENS = StreamTokens(
    TokenRoute(
        path=re.compile(r"/groups/([^/]+)\Z"),
        streams=lambda match: SessionGroup.objects.filter(public_id=match.group(1)).values("stream_id"),
    )
)
"""As a face would declare that its paths show groups."""


def request(path: str, token: str | None) -> dict[str, Any]:
    query = b"" if token is None else f"token={token}".encode()
    return {"type": "http", "path": path, "query_string": query, "headers": []}


def session_of(owner: Caller, group: str | None = None) -> AgentSession:
    return session_create(principal=owner.principal, request=SessionRequest(model="demo:echo", group_id=group))


async def refusal_message(tokens: StreamTokens, scope: Mapping[str, Any]) -> str:
    with pytest.raises(Unauthorized) as error:
        await tokens(dict(scope))
    return error.value.message


async def test_a_token_of_a_group_reads_its_stream_and_no_other(owner: Caller) -> None:
    await database.run(session_of, owner, "pair")
    await database.run(session_of, owner, "other")
    issued = await database.run(lambda: group_token_issue(principal=owner.principal, public_id="pair"))
    scope = request("/groups/pair", issued.secret)
    holder = await GROUP_TOKENS(scope)
    assert holder is not None
    assert (holder.tenant_id, holder.key_id) == (owner.principal.tenant_id, owner.principal.key_id)
    assert holder.allows(SESSIONS_READ)
    assert not any(holder.allows(scope) for scope in SCOPES if scope != SESSIONS_READ)
    assert scope[READ_ONLY]
    assert "this stream" in await refusal_message(GROUP_TOKENS, request("/groups/other", issued.secret))


async def test_a_token_of_a_session_is_none_of_its_group(owner: Caller) -> None:
    session = await database.run(session_of, owner, "pair")
    issued = await database.run(lambda: session_token_issue(principal=owner.principal, public_id=session.public_id))
    path = f"/v1/sessions/{session.public_id}/events"
    assert await TOKEN_PRINCIPAL(request(path, issued.secret)) is not None
    await refusal_message(GROUP_TOKENS, request("/groups/pair", issued.secret))


async def test_where_no_token_is_shown_or_taken_nobody_is_looked_up(owner: Caller) -> None:
    scope = request("/groups/pair", None)
    assert await GROUP_TOKENS(scope) is None
    assert await GROUP_TOKENS(request("/elsewhere", "agt_x")) is None
    assert READ_ONLY not in scope


def test_tokens_are_issued_for_what_the_tenant_has(owner: Caller, stranger: Caller) -> None:
    session = session_of(owner, "pair")
    with pytest.raises(SessionNotFound):
        session_token_issue(principal=stranger.principal, public_id=session.public_id)
    with pytest.raises(NotFound):
        group_token_issue(principal=stranger.principal, public_id="pair")


def test_a_token_lives_by_the_databases_clock(owner: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    session, moment = session_of(owner), database.database_moment()
    monkeypatch.setattr(clock, "now", lambda: moment + timedelta(hours=1))
    issued = session_token_issue(principal=owner.principal, public_id=session.public_id)
    assert moment <= issued.expires_at < moment + timedelta(minutes=10)


def test_tokens_go_with_their_stream_and_expired_ones_with_the_next(owner: Caller) -> None:
    with write_transaction():
        streams = [log.stream_create(kind="session") for _ in range(2)]
    for stream in streams:
        stream_token_issue(principal=owner.principal, stream_id=stream.pk)
    with write_transaction():
        streams_remove(stream_ids=[streams[0].pk])
    assert [token.stream_id for token in StreamToken.objects.all()] == [streams[1].pk]
    StreamToken.objects.update(expires_at=clock.now() - timedelta(seconds=1))
    stream_token_issue(principal=owner.principal, stream_id=streams[1].pk)
    assert StreamToken.objects.count() == 1


async def test_a_token_of_the_version_before_is_good_for_its_session(owner: Caller) -> None:
    """A process of that version knows no streams, and finds tokens by their session."""
    session, other = await database.run(session_of, owner), await database.run(session_of, owner)
    issued = await database.run(lambda: session_token_issue(principal=owner.principal, public_id=session.public_id))
    token = await database.run(StreamToken.objects.get)
    assert token.session_id == session.pk
    await database.run(lambda: StreamToken.objects.update(stream=None))
    assert await TOKEN_PRINCIPAL(request(f"/v1/sessions/{session.public_id}/ws", issued.secret)) is not None
    message = await refusal_message(TOKEN_PRINCIPAL, request(f"/v1/sessions/{other.public_id}/ws", issued.secret))
    assert "this session" in message


def test_the_version_before_removes_streams_that_tokens_name(owner: Caller) -> None:
    """It knows nothing of the reference, and the database does not insist on it."""
    with write_transaction():
        stream = log.stream_create(kind="session")
    stream_token_issue(principal=owner.principal, stream_id=stream.pk)
    with write_transaction():
        Stream.objects.filter(pk=stream.pk)._raw_delete("default")
    assert StreamToken.objects.count() == 1
