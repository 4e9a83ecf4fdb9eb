"""Agentbus clients of a session whose last events were lost: both of their views are told from where to go on."""

from __future__ import annotations

import pytest

from core_app import database
from core_app.errors import Unavailable
from faces.agentbus import followed_sessions
from tests.conftest import Caller
from tests.faces.agentbus.bus_client import bus, signed_in
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client
from tests.going_back import go_back, number_generations
from tests.sessions.test_generations import LOST, append_some, session_that_went_back, stream_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    number_generations(monkeypatch)


async def test_a_client_that_resumes_is_told_in_both_views_and_goes_on_from_the_base(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session, base = await session_that_went_back(api)
    dropped = {"from": base + 1, "to": base, "reason": "reset"}
    async with bus(server.port) as client:
        response = await client.sign_in(auth_token=owner.secret, last_seq={session: base + 1})
        assert response["ok"], response
        shown = [await client.event("session.event") for _ in range(LOST + 1)]
        assert shown[0] == {"session_id": session, "event": "events_dropped", "data": dropped, "id": base}
        assert [event["id"] for event in shown[1:]] == [f"{base + n}.1" for n in range(1, LOST + 1)]
    updates = [frame["payload"] for frame in client.frames if frame.get("event") == "session.update"]
    assert updates[0] == {"session_id": session, "state": "dropped", **dropped}


@pytest.mark.parametrize("how", ["connect", "events.follow"])
async def test_a_client_that_resumes_from_any_position_has_the_log_or_is_told_from_where(
    api: Client, server: LiveServer, owner: Caller, how: str
) -> None:
    session, base = await session_that_went_back(api)
    written = [f"{base + number}.1" for number in range(1, LOST + 1)]
    whole = [*range(1, base + 1), *written]
    for since in [0, *whole[:-1], *range(base + 1, base + LOST + 1)]:
        lost = since not in (0, *whole)
        rest = written if lost else whole[whole.index(since) + 1 :] if since else whole
        async with bus(server.port) as client:
            last_seq = {session: since} if how == "connect" else {}
            response = await client.sign_in(auth_token=owner.secret, last_seq=last_seq)
            assert response["ok"], response
            if how == "events.follow":
                await client.call("events.follow", session_id=session, since=since)
            shown = [await client.event("session.event") for _ in range(lost + len(rest))]
        told = [event["data"] for event in shown if event["event"] == "events_dropped"]
        assert told == ([{"from": since, "to": base, "reason": "reset"}] if lost else [])
        assert [event["id"] for event in shown[lost:]] == rest


async def test_a_client_that_resumes_a_session_that_is_gone_is_told(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    """It was erased, or made after the copy that was restored."""
    session, base = await session_that_went_back(api)
    async with bus(server.port) as client:
        last_seq = {"lost": 7, session: base + 1}
        assert (await client.sign_in(auth_token=owner.secret, last_seq=last_seq))["ok"]
        error = await client.event("chat.error")
        assert (error["session_id"], error["code"]) == ("lost", "session_not_found")
        assert (await client.event("session.event"))["event"] == "events_dropped"


async def test_a_client_that_cannot_resume_now_is_closed_to_come_back(
    server: LiveServer, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise Unavailable("The database is not available.")

    monkeypatch.setattr(followed_sessions, "sessions_to_resume", fail)
    async with bus(server.port) as client:
        assert (await client.sign_in(auth_token=owner.secret, last_seq={"any": 1}))["ok"]
        assert await client.close_code() == 4000


async def test_a_client_that_follows_is_told_and_closed_to_come_back(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    await api.run(session, "a few words")
    stream_id = await database.run(stream_of, session)
    base = len(await api.log(session))
    async with signed_in(server.port, owner.secret) as client:
        await client.call("events.follow", session_id=session, since=base)
        await database.run(append_some, stream_id, 2)
        assert [(await client.event("session.event"))["id"] for _ in range(2)] == [base + 1, base + 2]
        await database.run(go_back, stream_id, base)
        await database.run(append_some, stream_id, 3)
        told = await client.event("session.event")
        assert (told["id"], told["data"]) == (base, {"from": base + 2, "to": base, "reason": "reset"})
        assert await client.close_code() == 4000
