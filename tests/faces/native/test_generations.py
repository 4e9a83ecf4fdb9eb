"""Sockets of a session whose last events were lost."""

from __future__ import annotations

import pytest

from core_app import database
from tests.conftest import Caller
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client
from tests.going_back import go_back, number_generations
from tests.sessions.test_generations import LOST, append_some, session_that_went_back, stream_of

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    number_generations(monkeypatch)


async def test_a_socket_that_resumes_is_told_and_goes_on_from_the_base(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session, base = await session_that_went_back(api)
    async with server.socket(session, owner, since=base + 1) as socket:
        told = await socket.event()
        assert told == {
            "event": "events_dropped",
            "data": {"from": base + 1, "to": base, "reason": "reset"},
            "id": base,
        }
        assert [(await socket.event())["id"] for _ in range(LOST)] == [f"{base + n}.1" for n in range(1, LOST + 1)]
    async with server.socket(session, owner, since=f"{base + 1}.1") as socket:
        assert (await socket.event())["id"] == f"{base + 2}.1"


async def test_a_socket_that_is_open_is_told_and_closed_to_come_back(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    await api.run(session, "a few words")
    stream_id = await database.run(stream_of, session)
    base = len(await api.log(session))
    async with server.socket(session, owner) as socket:
        await database.run(append_some, stream_id, 2)
        assert [(await socket.event())["id"] for _ in range(2)] == [base + 1, base + 2]
        await database.run(go_back, stream_id, base)
        await database.run(append_some, stream_id, 3)
        told = await socket.event()
        assert (told["id"], told["data"]) == (base, {"from": base + 2, "to": base, "reason": "reset"})
        assert await socket.close_code() == 4000


async def test_a_socket_of_a_closed_session_is_told_before_it_is_closed(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session, _ = await session_that_went_back(api)
    await api.delete(f"/v1/sessions/{session}")
    head = (await api.get(f"/v1/sessions/{session}")).json["lastEventIndex"]
    async with server.socket(session, owner, since="1000.1") as socket:
        told = await socket.event()
        assert (told["id"], told["data"]["reason"]) == (head, "reset")
        assert await socket.close_code() == 4500
