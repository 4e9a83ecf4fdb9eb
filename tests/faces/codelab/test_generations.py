"""IDEs of a session whose last events were lost: each is told from where to go on, and has exactly the log then."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from core_app import database
from core_app.database import write_transaction
from events_app import log
from sessions_app.events import SessionUpdated
from tests.conftest import Caller
from tests.faces.codelab.ide import Ide, ide
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client
from tests.going_back import go_back, number_generations
from tests.sessions.test_generations import stream_of

pytestmark = pytest.mark.django_db(transaction=True)

KEPT, LOST, WRITTEN = 3, 2, 4
"""Events before the base, after it, and in the place of the lost ones."""


@pytest.fixture(autouse=True)
def _numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    number_generations(monkeypatch)


def switch(stream_id: int, names: str) -> None:
    """Appends events that an IDE is shown, one for each letter."""
    with write_transaction():
        log.append(stream_id, [SessionUpdated(changed={"agent": name}) for name in names])


def frames(start: int, names: str, generation: str = "") -> list[Mapping[str, Any]]:
    """Returns the frames of events that `switch` appended, the first of them at offset `start`."""
    return [
        {
            "type": "agent_switched",
            "agent_type": name,
            "reason": None,
            "offset": f"{offset}{generation}" if generation else offset,
        }
        for offset, name in enumerate(names, start)
    ]


def reset(since: int | str, to: int) -> Mapping[str, Any]:
    return {"type": "events_dropped", "from": since, "to": to, "reason": "reset", "offset": to}


async def next_frames(client: Ide, count: int) -> list[Mapping[str, Any]]:
    return [await client.frame() for _ in range(count)]


async def test_an_ide_that_resumes_from_any_position_has_the_log_or_is_told_from_where(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    stream_id = await database.run(stream_of, session)
    start = len(await api.log(session)) + 1
    await database.run(switch, stream_id, "abc")
    base = start + KEPT - 1
    await database.run(switch, stream_id, "xy")
    await database.run(go_back, stream_id, base)
    await database.run(switch, stream_id, "defg")
    kept, written = frames(start, "abc"), frames(base + 1, "defg", ".1")
    for seen in range(KEPT + 1):
        async with ide(server.port, session, owner.secret, since=start - 1 + seen) as client:
            missed = [*kept[seen:], *written]
            assert await next_frames(client, len(missed)) == missed
    for lost in range(base + 1, base + LOST + 1):
        async with ide(server.port, session, owner.secret, since=lost) as client:
            assert await next_frames(client, 1 + WRITTEN) == [reset(lost, base), *written]
    for seen in range(1, WRITTEN):
        async with ide(server.port, session, owner.secret, since=written[seen - 1]["offset"]) as client:
            assert await next_frames(client, WRITTEN - seen) == written[seen:]


async def test_an_ide_that_is_connected_is_told_and_closed_to_come_back(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    stream_id = await database.run(stream_of, session)
    base = len(await api.log(session))
    async with ide(server.port, session, owner.secret, since=base) as client:
        await database.run(switch, stream_id, "xy")
        assert await next_frames(client, LOST) == frames(base + 1, "xy")
        await database.run(go_back, stream_id, base)
        await database.run(switch, stream_id, "abc")
        told = await client.frame()
        assert told == reset(base + LOST, base)
        assert await client.close_code() == 4000
    async with ide(server.port, session, owner.secret, since=told["offset"]) as client:
        assert await next_frames(client, 3) == frames(base + 1, "abc", ".1")


async def test_a_session_that_was_lost_begins_anew(api: Client, server: LiveServer, owner: Caller) -> None:
    """The copy was made before the session: its id is a new session, whose events replace what the IDE has."""
    session = await api.session()
    stream_id = await database.run(stream_of, session)
    await database.run(switch, stream_id, "xy")
    seen = len(await api.log(session))
    assert (await api.delete(f"/v1/sessions/{session}?purge=true")).status == 204
    await database.run(go_back, stream_id, 0)
    async with ide(server.port, session, owner.secret, since=seen) as client:
        assert await client.frame() == reset(seen, 0)
        await client.send("user_message", content="hello")
        assert await client.answer()
