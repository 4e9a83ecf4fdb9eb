"""GET /v1/groups/:groupId/events: the sessions of a group in one stream, resumable by its own ids."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection, connections

from core_app import database
from core_app.database import write_transaction
from events_app import log
from events_app.hub import HUB
from events_app.models import Stream
from events_app.removal import events_remove
from sessions_app.models import AgentSession, SessionGroup
from sessions_app.services.groups import groups_remove
from sessions_app.services.retention import retention_apply
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.models import Tenant
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
    for session, own_log in logs.items():
        own = [frame for frame in frames if frame.data["sessionId"] == session]
        assert [(frame.event, {**frame.data, "sessionId": None}) for frame in own] == [
            (frame.event, {**frame.data, "sessionId": None}) for frame in own_log
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


async def test_an_empty_group_goes_and_its_followers_are_ended(api: Client, tenant: Tenant) -> None:
    session = await api.session(groupId="together")
    await api.run(session, "hello")
    kept = await api.session(groupId="elsewhere")
    assert (await database.run(retention_apply, tenant=tenant)).groups == 0
    await api.delete(f"/v1/sessions/{session}?purge=true")
    async with api.events("", path=PATH, since=0) as reader:
        await reader.until(lambda: reader.status == 200)
        assert (await database.run(retention_apply, tenant=tenant)).groups == 1
        await HUB.check(full=True)
        await reader.until(lambda: reader.ended)
    assert (await api.get(PATH)).error == (404, "not_found")
    assert await database.run(lambda: list(SessionGroup.objects.values_list("public_id", flat=True))) == ["elsewhere"]
    assert await database.run(lambda: Stream.objects.filter(kind="group").count()) == 1
    assert (await api.get(f"/v1/sessions/{kept}")).json["groupId"] == "elsewhere"


async def test_a_group_that_still_has_events_stays(api: Client, tenant: Tenant) -> None:
    session = await api.session(groupId="together")
    await api.run(session, "hello")
    await api.patch(f"/v1/sessions/{session}", {"groupId": None})
    assert (await database.run(retention_apply, tenant=tenant)).groups == 0
    assert await from_group(api, 1, since=0)


@pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite has one writer")
def test_a_group_that_a_session_joins_just_then_is_not_removed(tenant: Tenant, owner: Caller) -> None:
    group = SessionGroup.objects.create(tenant=tenant, public_id="g", stream=log.stream_create(kind="group"))
    removed: list[int] = []
    remover = threading.Thread(target=_in_a_thread, args=(lambda: removed.append(groups_remove(tenant)),))
    with write_transaction():
        session = session_create(principal=owner.principal, request=SessionRequest(model="demo:echo", group_id="g"))
        remover.start()
        # Not before it waits for the row that this transaction holds.
        _until_somebody_waits()
    remover.join(5)
    assert removed == [0]
    assert session.group_id == group.pk


def _in_a_thread(work: Callable[[], object]) -> None:
    try:
        work()
    finally:
        connections.close_all()


def _until_somebody_waits() -> None:
    with connection.cursor() as cursor:
        for _ in range(10_000):
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            if cursor.fetchone()[0]:
                return
    raise AssertionError("Nobody came to wait.")
