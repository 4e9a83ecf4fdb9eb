"""GET /v1/groups/:groupId/events: the sessions of a group in one stream, resumable by its own ids."""

from __future__ import annotations

from typing import Any

import pytest

from core_app import database
from events_app.removal import events_remove
from sessions_app.models import AgentSession
from tests.conftest import Caller
from tests.gateway_harness import Client, Frame, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)

PATH = "/v1/groups/together/events"


async def two_runs(api: Client) -> tuple[str, str]:
    first, second = await api.session(groupId="together"), await api.session(groupId="together")
    await api.run(first, "one")
    await api.run(second, "two")
    return first, second


async def from_group(api: Client, count: int, **query: Any) -> list[Frame]:
    async with api.events("", path=PATH, **query) as reader:
        return [await reader.next() for _ in range(count)]


async def test_a_group_shows_every_event_of_its_sessions_once_and_says_whose(api: Client) -> None:
    first, second = await two_runs(api)
    logs = {session: await api.log(session) for session in (first, second)}
    total = sum(map(len, logs.values()))
    frames = await from_group(api, total, since=0)
    assert [frame.id for frame in frames] == list(range(1, total + 1))
    for session, log in logs.items():
        own = [frame for frame in frames if frame.data["sessionId"] == session]
        assert [(frame.event, {**frame.data, "sessionId": None}) for frame in own] == [
            (frame.event, {**frame.data, "sessionId": None}) for frame in log
        ]


async def test_a_group_cut_anywhere_and_resumed_shows_exactly_the_rest(api: Client) -> None:
    first, second = await two_runs(api)
    total = len(await api.log(first)) + len(await api.log(second))
    whole = await from_group(api, total, since=0)
    for cut in range(1, total):
        async with api.events("", path=PATH, last_id=cut) as reader:
            rest = [await reader.next() for _ in range(total - cut)]
        assert rest == whole[cut:]


async def test_a_group_followed_without_a_position_is_live(api: Client) -> None:
    first, _ = await two_runs(api)
    async with api.events("", path=PATH) as reader:
        await api.prompt(first, "three")
        frame = await reader.next()
    assert (frame.event, frame.data["text"]) == ("prompt_received", "three")


async def test_a_group_is_filtered_by_types(api: Client) -> None:
    await two_runs(api)
    frames = await from_group(api, 2, since=0, types="agent_end")
    assert [frame.event for frame in frames] == ["agent_end", "agent_end"]


async def test_what_a_session_no_longer_has_is_said_to_be_dropped_from_its_group(api: Client) -> None:
    """Retention empties a session first and takes its pointers out of the group later, perhaps in another round."""
    first, second = await two_runs(api)
    total = len(await api.log(first)) + len(await api.log(second))
    gone = len(await api.log(first)) - 1

    def remove() -> None:
        stream_id = AgentSession.objects.get(public_id=first).stream_id
        assert events_remove(stream_id=stream_id, through=gone) == gone

    await database.run(remove)
    frames = await from_group(api, total, since=0)
    assert [frame.id for frame in frames] == list(range(1, total + 1))
    dropped, kept = frames[:gone], frames[gone:]
    assert [(frame.event, frame.data) for frame in dropped] == [
        ("events_dropped", {"from": offset, "to": offset}) for offset in range(1, gone + 1)
    ]
    assert [frame.data["sessionId"] for frame in kept] == [first] + [second] * (total - gone - 1)
    assert [frame.event for frame in await from_group(api, 2, since=0, types="agent_end")] == ["agent_end"] * 2


async def test_a_session_that_changes_its_group_is_counted_in_the_new_one(api: Client) -> None:
    first, _ = await two_runs(api)
    assert (await api.patch(f"/v1/sessions/{first}", {"groupId": "elsewhere"})).status == 200
    async with api.events("", path="/v1/groups/elsewhere/events", since=0) as reader:
        await api.prompt(first, "three")
        types = [(await reader.next()).event for _ in range(2)]
    assert types == ["session_updated", "prompt_received"]


async def test_a_position_past_the_head_of_a_group_is_a_reset(api: Client) -> None:
    await two_runs(api)
    frames = await from_group(api, 1, since=100_000)
    assert (frames[0].event, frames[0].data["reason"]) == ("events_dropped", "reset")


async def test_an_unknown_group_and_a_strangers_are_not_found(
    api: Client, gateway: GatewayHarness, stranger: Caller, colleague: Caller
) -> None:
    await two_runs(api)
    assert (await api.get("/v1/groups/nowhere/events")).error == (404, "not_found")
    assert (await gateway.client(stranger).get(PATH)).error == (404, "not_found")
    assert (await gateway.client(colleague).get(PATH)).error == (403, "forbidden")
