"""GET …/events: the start, the events and the end of a stream (docs/protocol-native.md, "Following over SSE")."""

from __future__ import annotations

import re
import time
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest

from core_app import clock, database
from events_app import log
from events_app.models import Event, Stream
from faces.native import session_events
from sessions_app.models import AgentSession, Run
from tenants_app import authentication
from tenants_app.key_cache import KEY_CACHE
from tenants_app.models import ApiKey
from tenants_app.principal import SCOPES, Principal
from tests.conftest import caller
from tests.gateway_harness import Client, Frame, GatewayHarness
from tests.scripted_engine import Gate, ScriptedEngine, gated_leg

pytestmark = pytest.mark.django_db(transaction=True)


def types_of(frames: list[Frame]) -> list[str]:
    return [frame.event for frame in frames]


def ids_of(frames: list[Frame]) -> list[int]:
    return [frame.id for frame in frames]


async def made_old(session: str) -> None:
    """Every run of the session ended longer ago than a default stream looks back."""
    moment = clock.now() - timedelta(seconds=61)
    await database.run(lambda: Run.objects.filter(session__public_id=session).update(ended_at=moment))


async def removed_through(session: str, offset: int) -> None:
    """Retention has removed the events up to `offset`."""

    def remove() -> None:
        stream_id = AgentSession.objects.get(public_id=session).stream_id
        Event.objects.filter(stream_id=stream_id, offset__lte=offset).delete()
        Stream.objects.filter(pk=stream_id).update(floor=offset)

    await database.run(remove)


async def test_a_prompt_posted_first_and_followed_after_its_end_shows_the_whole_run(api: Client) -> None:
    session = await api.session()
    await api.run(session, "hello there")
    async with api.events(session) as reader:
        frames = await reader.read_to_end()
    assert frames[0].event == "prompt_received"
    assert frames[-1].event == "agent_end"
    assert frames[-1].data["lastMessage"] == {"role": "assistant", "content": "hello there"}
    assert ids_of(frames) == list(range(1, len(frames) + 1))


async def test_the_head_and_the_first_line_are_as_the_contract_says(api: Client) -> None:
    session = await api.session()
    await api.run(session, "hello")
    async with api.events(session) as reader:
        await reader.read_to_end()
    assert reader.status == 200
    assert reader.headers["content-type"] == "text/event-stream"
    assert reader.headers["cache-control"] == "no-cache"
    assert reader.headers["x-accel-buffering"] == "no"
    # A line of the first frame: a frame of its own would be an event to clients built on httpx-sse.
    first, second, _ = reader.raw.split(b"\n", 2)
    assert first.startswith(b"retry: ")
    assert 1000 <= int(first.removeprefix(b"retry: ")) <= 3000
    assert second == b"id: 1"


async def test_a_frame_is_an_id_a_type_and_one_line_of_json(api: Client) -> None:
    session = await api.session()
    await api.run(session, "two\nlines\r\nand   more")
    async with api.events(session) as reader:
        frames = await reader.read_to_end()
    for frame in frames:
        lines = frame.raw.decode().split("\n")
        assert [line.partition(":")[0] for line in lines] == ["id", "event", "data", "", ""]
        assert set(frame.data) >= {"requestId", "at"}


async def test_by_default_the_newest_run_is_shown_alone(api: Client) -> None:
    session = await api.session()
    await api.run(session, "first")
    await api.patch(f"/v1/sessions/{session}", {"title": "between"})
    second = await api.run(session, "second")
    async with api.events(session) as reader:
        frames = await reader.read_to_end()
    assert {frame.data["requestId"] for frame in frames} == {second["requestId"]}
    assert types_of(frames)[0] == "prompt_received"
    assert types_of(frames)[-1] == "agent_end"


async def test_an_unfinished_run_is_shown_from_its_first_event(api: Client, script: ScriptedEngine) -> None:
    gate = Gate()
    script.behaviour = gated_leg(gate)
    session = await api.session()
    await api.prompt(session, "go")
    await gate.arrival()
    async with api.events(session) as reader:
        assert (await reader.next()).event == "prompt_received"
        gate.open()
        assert types_of(await reader.read_to_end())[-1] == "agent_end"


async def test_a_run_that_ended_long_ago_is_not_shown_and_the_next_one_is(api: Client) -> None:
    session = await api.session()
    await api.run(session, "old")
    await made_old(session)
    async with api.events(session) as reader:
        await api.patch(f"/v1/sessions/{session}", {"title": "not the run's"})
        request_id = await api.prompt(session, "new")
        frames = await reader.read_to_end()
    assert {frame.data["requestId"] for frame in frames} == {request_id}
    assert types_of(frames)[0] == "prompt_received"


async def test_a_session_without_a_run_waits_for_its_first_one(api: Client) -> None:
    session = await api.session()
    async with api.events(session) as reader:
        await api.prompt(session, "first")
        frames = await reader.read_to_end()
    assert types_of(frames)[0] == "prompt_received"
    assert types_of(frames)[-1] == "agent_end"


async def test_since_shows_what_comes_after_it_through_the_newest_run(api: Client) -> None:
    session = await api.session()
    first = await api.run(session, "first")
    await api.run(session, "second")
    whole = await api.log(session)
    end = next(frame.id for frame in whole if frame.event == "agent_end")
    assert first["status"] == "completed"
    async with api.events(session, since=0) as reader:
        assert await reader.read_to_end() == whole
    async with api.events(session, since=end) as reader:
        assert await reader.read_to_end() == whole[end:]


async def test_last_event_id_goes_before_since(api: Client) -> None:
    session = await api.session()
    await api.run(session, "words to cut")
    whole = await api.log(session)
    async with api.events(session, last_id=3, since=0) as reader:
        assert await reader.read_to_end() == whole[3:]


@pytest.mark.parametrize("given", ["x", "-1", "1.", ".5", "1.5.1", "1e3", "", "٣"])
async def test_a_since_that_is_no_number_is_refused_by_name(api: Client, given: str) -> None:
    session = await api.session()
    async with api.events(session, since=given) as reader:
        answer = await reader.answer()
    assert answer.error == (400, "bad_request")
    assert answer.field == "since"


@pytest.mark.parametrize("digits", [18, 19, 40, 400])
async def test_a_since_beyond_every_log_is_a_reset(api: Client, digits: int) -> None:
    session = await api.session()
    async with api.events(session, since="9" * digits) as reader:
        dropped = await reader.next()
    assert (dropped.event, dropped.data["reason"]) == ("events_dropped", "reset")


async def test_a_last_event_id_that_is_no_number_is_refused_by_name(api: Client) -> None:
    session = await api.session()
    async with api.events(session, last_id="newest") as reader:
        answer = await reader.answer()
    assert answer.error == (400, "bad_request")
    assert answer.field == "Last-Event-ID"


async def test_a_named_run_is_shown_alone_however_old_it_is(api: Client) -> None:
    session = await api.session()
    first = await api.run(session, "first")
    await api.run(session, "second")
    await made_old(session)
    async with api.events(session, requestId=first["requestId"]) as reader:
        frames = await reader.read_to_end()
    assert {frame.data["requestId"] for frame in frames} == {first["requestId"]}
    assert types_of(frames)[-1] == "agent_end"


async def test_a_named_run_is_resumed_from_a_position(api: Client) -> None:
    session = await api.session()
    await api.run(session, "first")
    second = await api.run(session, "second of two")
    own = [frame for frame in await api.log(session) if frame.data["requestId"] == second["requestId"]]
    async with api.events(session, requestId=second["requestId"], last_id=own[1].id) as reader:
        assert await reader.read_to_end() == own[2:]
    async with api.events(session, requestId=second["requestId"], last_id=own[-1].id) as reader:
        assert reader.status == 204


async def test_a_default_stream_that_is_resumed_shows_its_run_alone(api: Client, script: ScriptedEngine) -> None:
    """With every position that the first connection may have told, and with one that belongs to no run."""
    gate = Gate()
    script.legs = [gated_leg(gate)]
    session = await api.session()
    await api.prompt(session, "first")
    second = await api.prompt(session, "second")
    async with api.events(session) as reader:
        seen = [await reader.next()]
        gate.open()
        seen += await reader.read_to_end()
    assert {frame.data["requestId"] for frame in seen} == {second}
    for number, frame in enumerate(seen[:-1], 1):
        async with api.events(session, last_id=frame.id) as again:
            assert await again.read_to_end() == seen[number:]
    async with api.events(session, last_id=0) as reader:
        assert await reader.read_to_end() == await api.log(session)


async def test_a_reader_of_one_run_is_not_moved_on_by_the_events_of_another(
    api: Client, script: ScriptedEngine, settings: Any
) -> None:
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.02
    gate = Gate()
    script.legs = [gated_leg(gate)]
    session = await api.session()
    await api.prompt(session, "first")
    await gate.arrival()
    await api.prompt(session, "second")
    async with api.events(session) as reader:
        await reader.next()
        beats = reader.heartbeats
        assert (await api.post(f"/v1/sessions/{session}/tools", {"name": "late"})).status == 201
        await reader.until(lambda: reader.heartbeats > beats + 2)
        gate.open()
        await reader.read_to_end()
    assert reader.bare_ids == []


async def test_a_named_run_that_the_session_does_not_have_is_not_found(api: Client) -> None:
    session, other = await api.session(), await api.session()
    run = await api.run(other, "elsewhere")
    async with api.events(session, requestId=run["requestId"]) as reader:
        assert (await reader.answer()).error == (404, "not_found")


async def test_a_named_queued_run_is_shown_without_the_run_before_it(api: Client, script: ScriptedEngine) -> None:
    gate = Gate()
    script.legs = [gated_leg(gate)]
    session = await api.session()
    first = await api.prompt(session, "first")
    second = await api.prompt(session, "second")
    async with api.events(session, requestId=second) as reader, api.events(session, requestId=first) as other:
        gate.open()
        assert {frame.data["requestId"] for frame in await reader.read_to_end()} == {second}
        assert {frame.data["requestId"] for frame in await other.read_to_end()} == {first}


async def test_following_the_session_goes_on_across_runs_until_it_closes(api: Client) -> None:
    session = await api.session()
    await api.run(session, "first")
    async with api.events(session, follow="session") as reader:
        await reader.next_of("agent_end")
        await api.run(session, "second")
        assert (await reader.next_of("agent_end")).data["lastMessage"]["content"] == "second"
        await api.delete(f"/v1/sessions/{session}")
        assert types_of(await reader.read_to_end()) == ["session_closed"]


async def test_follow_knows_only_the_session(api: Client) -> None:
    session = await api.session()
    async with api.events(session, follow="tenant") as reader:
        answer = await reader.answer()
    assert answer.error == (400, "bad_request")
    assert answer.field == "follow"


async def test_a_filter_leaves_out_everything_else(api: Client) -> None:
    session = await api.session()
    await api.run(session, "hello there")
    async with api.events(session, since=0, types="message_start,agent_end,no_such_type") as reader:
        assert types_of(await reader.read_to_end()) == ["message_start", "agent_end"]


async def test_a_terminal_event_ends_a_stream_that_filters_it_out_and_moves_the_reader_past_it(api: Client) -> None:
    session = await api.session()
    await api.run(session, "hello there")
    head = (await api.log(session))[-1].id
    async with api.events(session, types="message_end") as reader:
        assert types_of(await reader.read_to_end()) == ["message_end"]
        assert reader.last_id == head
    async with api.events(session, types="message_end", last_id=head) as reader:
        await api.run(session, "again")
        assert [frame.data["content"] for frame in await reader.read_to_end()] == ["again"]


async def test_closing_ends_a_stream_that_filters_it_out(api: Client) -> None:
    session = await api.session()
    async with api.events(session, follow="session", types="message_end") as reader:
        await api.delete(f"/v1/sessions/{session}")
        assert await reader.read_to_end() == []


async def test_at_the_last_terminal_event_the_next_run_is_waited_for(api: Client) -> None:
    session = await api.session()
    await api.run(session, "first")
    head = (await api.log(session))[-1].id
    async with api.events(session, last_id=head) as reader:
        request_id = await api.prompt(session, "second")
        frames = await reader.read_to_end()
    assert frames[0].id == head + 1
    assert {frame.data["requestId"] for frame in frames} == {request_id}
    assert types_of(frames)[-1] == "agent_end"


async def test_past_the_last_terminal_event_the_next_run_is_waited_for(api: Client) -> None:
    session = await api.session()
    await api.run(session, "first")
    await api.patch(f"/v1/sessions/{session}", {"title": "after the end"})
    head = (await api.log(session))[-1].id
    async with api.events(session, since=head) as reader:
        await api.prompt(session, "second")
        assert types_of(await reader.read_to_end())[-1] == "agent_end"


async def test_a_run_that_outlasts_the_newest_one_still_ends_the_stream(api: Client, script: ScriptedEngine) -> None:
    """The newest run was withdrawn; a reader past its end waits for the older one, which is under way."""
    gate = Gate()
    script.behaviour = gated_leg(gate)
    session = await api.session()
    first = await api.prompt(session, "first")
    second = await api.prompt(session, "second")
    await gate.arrival()
    assert (await api.post(f"/v1/sessions/{session}/runs/{second}/abort")).status == 202
    aborted = next(frame for frame in await api.log(session) if frame.event == "agent_abort")
    async with api.events(session, last_id=aborted.id) as reader:
        gate.open()
        frames = await reader.read_to_end()
    assert frames[-1].event == "agent_end"
    assert frames[-1].data["requestId"] == first


async def test_a_closed_session_is_read_from_a_position_and_then_answered_204(api: Client) -> None:
    session = await api.session()
    await api.run(session, "first")
    await api.delete(f"/v1/sessions/{session}")
    whole = await api.log(session)
    async with api.events(session, since=0) as reader:
        assert types_of(await reader.read_to_end())[-1] == "agent_end"
    async with api.events(session, since=0, follow="session") as reader:
        assert await reader.read_to_end() == whole
    end = next(frame.id for frame in whole if frame.event == "agent_end")
    for position in (end, whole[-1].id):
        async with api.events(session, last_id=position) as reader:
            assert reader.status == 204
            assert (await reader.answer()).body == b""
    async with api.events(session, last_id=whole[-1].id + 100) as reader:
        told = await reader.read_to_end()
    assert [(frame.id, frame.data["reason"]) for frame in told] == [(whole[-1].id, "reset")]
    async with api.events(session, follow="session", last_id=whole[-1].id) as reader:
        assert reader.status == 204


async def test_a_closed_session_without_a_recent_run_has_nothing_to_follow(api: Client) -> None:
    session = await api.session()
    await api.run(session, "first")
    await made_old(session)
    await api.delete(f"/v1/sessions/{session}")
    async with api.events(session) as reader:
        assert reader.status == 204


async def test_a_position_past_the_head_is_reset_to_it(api: Client) -> None:
    session = await api.session()
    await api.run(session, "first")
    head = (await api.log(session))[-1].id
    async with api.events(session, since=head + 50) as reader:
        dropped = await reader.next()
        assert (dropped.event, dropped.id) == ("events_dropped", head)
        assert dropped.data == {"from": head + 50, "to": head, "reason": "reset"}
        await api.prompt(session, "second")
        frames = await reader.read_to_end()
    assert frames[0].id == head + 1
    assert types_of(frames)[-1] == "agent_end"


async def test_events_that_are_no_longer_kept_are_named_first(api: Client) -> None:
    session = await api.session()
    await api.run(session, "first")
    whole = await api.log(session)
    await removed_through(session, 4)
    async with api.events(session, last_id=1) as reader:
        dropped = await reader.next()
        assert (dropped.event, dropped.id, dropped.data) == ("events_dropped", 4, {"from": 2, "to": 4})
        assert await reader.read_to_end() == whole[4:]
    page = (await api.get(f"/v1/sessions/{session}/events?format=json&since=1")).json
    assert page["dropped"] == {"from": 2, "to": 4}
    assert page["events"][0]["id"] == 5


async def test_a_run_that_is_no_longer_kept_is_said_to_be_gone_and_the_stream_ends(api: Client) -> None:
    session = await api.session()
    first = await api.run(session, "first")
    await api.run(session, "second")
    whole = await api.log(session)
    end = next(frame.id for frame in whole if frame.event == "agent_end")
    await removed_through(session, end)
    async with api.events(session, requestId=first["requestId"]) as reader:
        assert [(frame.event, frame.data) for frame in await reader.read_to_end()] == [
            ("events_dropped", {"from": 1, "to": end})
        ]
    async with api.events(session, since=0) as reader:
        assert await reader.read_to_end() == [Frame(end, "events_dropped", {"from": 1, "to": end}), *whole[end:]]


async def test_a_reader_that_retention_overtakes_is_told_what_it_missed(
    api: Client, gateway: GatewayHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the plan and the first read, the events were removed."""
    from faces.native import session_events
    from faces.native.stream_plan import stream_plan

    session = await api.session()
    await api.run(session, "first")
    whole = await api.log(session)
    planned = stream_plan

    def plan_and_remove(found: Any, request: Any) -> Any:
        plan = planned(found, request)
        Event.objects.filter(stream_id=found.stream_id, offset__lte=3).delete()
        Stream.objects.filter(pk=found.stream_id).update(floor=3)
        return plan

    monkeypatch.setattr(session_events, "stream_plan", plan_and_remove)
    async with api.events(session, since=0) as reader:
        assert await reader.read_to_end() == [Frame(3, "events_dropped", {"from": 1, "to": 3}), *whole[3:]]


async def test_a_quiet_stream_is_kept_alive_by_comments_alone(api: Client, settings: Any) -> None:
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.02
    session = await api.session()
    await api.run(session, "first")
    head = (await api.log(session))[-1].id
    async with api.events(session, last_id=head) as reader:
        await reader.until(lambda: reader.heartbeats >= 2)
        # One line each: an empty line after it would be an event without data to clients built on httpx-sse.
        assert re.fullmatch(rb"retry: [123][0-9]{3}\n(: heartbeat\n)+", reader.raw)


async def test_a_filtered_reader_of_a_busy_stream_does_not_fall_behind(
    api: Client, script: ScriptedEngine, settings: Any
) -> None:
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.02
    gate = Gate()
    script.behaviour = gated_leg(gate)
    session = await api.session()
    await api.prompt(session, "go")
    await gate.arrival()
    async with api.events(session, types="agent_end") as reader:
        head = (await api.log(session))[-1].id
        await reader.until(lambda: reader.bare_ids and reader.bare_ids[-1] >= head)
        gate.open()
        assert types_of(await reader.read_to_end()) == ["agent_end"]


async def test_a_key_that_is_revoked_ends_its_streams_at_the_next_heartbeat(
    api: Client, owner: Any, settings: Any
) -> None:
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.02
    session = await api.session()
    async with api.events(session, follow="session") as reader:
        await reader.until(lambda: reader.heartbeats)
        await database.run(lambda: ApiKey.objects.filter(pk=owner.principal.key_id).update(revoked_at=clock.now()))
        KEY_CACHE.clear()
        assert await reader.read_to_end() == []


async def test_no_event_is_delivered_to_a_key_that_was_revoked_longer_ago_than_the_cache_keeps_it(
    api: Client, owner: Any, gateway: GatewayHarness, tenant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Revoked by another process, which cannot clear the cache here."""
    session = await api.session()
    other = gateway.client(await database.run(caller, tenant, SCOPES))
    now = time.monotonic()
    monkeypatch.setattr(KEY_CACHE, "clock", lambda: now)
    async with api.events(session, follow="session") as reader:
        await other.run(session, "before")
        await reader.next_of("agent_end")
        await database.run(lambda: ApiKey.objects.filter(pk=owner.principal.key_id).update(revoked_at=clock.now()))
        await other.run(session, "within the time")
        await reader.next_of("agent_end")
        now += 2.0
        await other.run(session, "after it")
        assert await reader.read_to_end() == []
        assert b"after it" not in reader.raw


async def test_followers_of_one_key_ask_once_together(
    api: Client, owner: Any, gateway: GatewayHarness, tenant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int | None] = []
    load = authentication._load_again

    def load_again(principal: Principal) -> Principal | None:
        asked.append(principal.key_id)
        return load(principal)

    monkeypatch.setattr(authentication, "_load_again", load_again)
    session = await api.session()
    other = gateway.client(await database.run(caller, tenant, SCOPES))
    now = time.monotonic()
    monkeypatch.setattr(KEY_CACHE, "clock", lambda: now)
    async with AsyncExitStack() as readers:
        followers = [await readers.enter_async_context(api.events(session, follow="session")) for _ in range(20)]
        await other.run(session, "one")
        for reader in followers:
            await reader.next_of("agent_end")
        assert asked.count(owner.principal.key_id) == 1
        now += 5
        await other.run(session, "two")
        for reader in followers:
            await reader.next_of("agent_end")
        assert asked.count(owner.principal.key_id) == 2


async def test_a_key_that_may_no_longer_read_ends_its_streams_at_the_next_heartbeat(
    api: Client, owner: Any, settings: Any
) -> None:
    from tenants_app.services import api_key_update

    settings.GATEWAY_HEARTBEAT_SECONDS = 0.02
    session = await api.session()

    def narrow_key() -> None:
        key = ApiKey.objects.get(pk=owner.principal.key_id)
        api_key_update(key=key, name=key.name, scopes=["inference"], rpm=key.rpm, expires_at=None)

    async with api.events(session, follow="session") as reader:
        await reader.until(lambda: reader.heartbeats)
        await database.run(narrow_key)
        assert await reader.read_to_end() == []


async def test_a_session_that_is_erased_while_it_is_looked_up_is_unknown(
    api: Client, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For readers and writers alike: its row was found, its stream is no more."""
    from sessions_app import selectors
    from sessions_app.services import session as sessions
    from sessions_app.services.erasure import session_erase

    def erased_then(principal: Any, public_id: str) -> AgentSession:
        found = selectors.session_get(principal, public_id)
        session_erase(tenant_id=principal.tenant_id, public_id=public_id, actor="test")
        return found

    for place, method, below in (
        (session_events, "GET", "/events"),
        (session_events, "GET", "/events?format=json"),
        (sessions, "POST", "/abort"),
        (sessions, "DELETE", ""),
    ):
        session = await api.session()
        with monkeypatch.context() as patch:
            patch.setattr(place, "session_get", erased_then)
            answer = await api.ask(method, f"/v1/sessions/{session}{below}")
        assert answer.error == (404, "session_not_found")


async def test_pages_of_json_are_the_same_events(api: Client) -> None:
    session = await api.session()
    await api.run(session, "a few words to page through")
    async with api.events(session) as reader:
        frames = await reader.read_to_end()
    pages: list[Frame] = []
    cursor: int | None = 0
    while cursor is not None:
        page = (await api.get(f"/v1/sessions/{session}/events?format=json&since={cursor}&limit=3")).json
        assert page["lastEventIndex"] == frames[-1].id
        pages += [Frame(event["id"], event["event"], event["data"]) for event in page["events"]]
        cursor = page["nextCursor"]
    assert pages == frames


async def test_readers_of_large_events_are_given_them_in_parts(api: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    session = await api.session(groupId="together")
    await api.run(session, "many words of which each takes its place in the log " * 5)
    whole = await api.log(session)
    monkeypatch.setattr(log, "PAGE_BYTES", 300)
    sizes = []
    cursor: int | None = 0
    while cursor is not None:
        page = (await api.get(f"/v1/sessions/{session}/events?format=json&since={cursor}&limit=1000")).json
        sizes.append(len(page["events"]))
        cursor = page["nextCursor"]
    assert sum(sizes) == len(whole)
    assert max(sizes) < 4
    async with api.events(session, since=0) as reader:
        assert await reader.read_to_end() == whole
    async with api.events("", path="/v1/groups/together/events", since=0) as reader:
        assert [(await reader.next()).event for _ in whole] == types_of(whole)


async def test_pages_are_filtered_bounded_and_checked(api: Client) -> None:
    session = await api.session()
    await api.run(session, "a few words")
    base = f"/v1/sessions/{session}/events?format=json"
    page = (await api.get(f"{base}&types=agent_end,message_end")).json
    assert [event["event"] for event in page["events"]] == ["message_end", "agent_end"]
    assert len((await api.get(f"{base}&limit=0")).json["events"]) == 1
    for name in ("since", "limit"):
        answer = await api.get(f"{base}&{name}=few")
        assert answer.error == (400, "bad_request")
        assert answer.field == name
    page = (await api.get(f"{base}&since=1000")).json
    assert page["events"] == []
    assert page["dropped"] == {"from": 1000, "to": page["lastEventIndex"], "reason": "reset"}


async def test_only_get_is_answered(api: Client) -> None:
    session = await api.session()
    answer = await api.post(f"/v1/sessions/{session}/events", {})
    assert (answer.error, answer.headers["allow"]) == ((405, "method_not_allowed"), "GET")
    probe = await api.post("/healthz", {})
    assert (probe.error, probe.headers["allow"]) == ((405, "method_not_allowed"), "GET, HEAD")
