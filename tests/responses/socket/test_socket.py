"""The WebSocket of the Responses API: responses, lanes, what continues what, errors and limits."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from core_app import database
from edge_app.followers import FOLLOWERS
from edge_app.http.body_budget import BODIES
from edge_app.sockets.open_sockets import SOCKETS
from faces.responses.socket import connection, lanes, unstored
from responses_app.models import StoredResponse
from tenants_app.models import ApiKey
from tenants_app.principal import INFERENCE
from tenants_app.services import api_key_revoke
from tests.conftest import Caller
from tests.faces.inference.scripted import SSE, STREAM, Reply, body, scripted, sse
from tests.gateway_harness import Client, eventually
from tests.responses.conftest import URL, events_of, finished, streamed, text_of
from tests.responses.socket.conftest import Connect, said, types_of

pytestmark = pytest.mark.django_db(transaction=True)


async def test_a_response_has_the_events_of_http_and_is_stored(dial: Connect, api: Client, settings: Any) -> None:
    async with scripted(settings, streamed("He", "llo")), dial() as socket:
        await socket.create()
        events = await socket.to_end()
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert types_of(events)[:2] == ["response.created", "response.in_progress"]
        assert not any("stream_id" in event for event in events)
        last = events[-1]["response"]
        assert (await api.get(f"{URL}/{last['id']}")).json == last
    assert text_of(last) == "Hello"


async def test_lanes_answer_in_turn_each_and_beside_each_other(dial: Connect, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("A", gate=gate), streamed("B"), streamed("C")), dial() as socket:
        await socket.create("slow", stream_id="one")
        assert (await socket.event())["stream_id"] == "one"
        await socket.create("quick", stream_id="two")
        ended = await socket.event("response.completed")
        assert (ended["stream_id"], text_of(ended["response"])) == ("two", "B")
        await socket.create("behind it", stream_id="one")
        gate.set()
        ends = [await socket.event("response.completed") for _ in range(2)]
        assert [(end["stream_id"], text_of(end["response"])) for end in ends] == [("one", "A"), ("one", "C")]


@pytest.mark.parametrize("store", [True, False])
async def test_a_response_is_continued(dial: Connect, settings: Any, store: bool) -> None:
    async with scripted(settings, streamed("A"), streamed("B"), streamed("C")) as provider, dial() as socket:
        first = await socket.response("One", store=store, instructions="Be kind.")
        second = await socket.response("Two", store=store, previous_response_id=first["id"])
        assert second["previous_response_id"] == first["id"]
        # A lane of its own goes on from what another one has made.
        await socket.response("Three", store=store, previous_response_id=second["id"], stream_id="fork")
    history = [("user", "One"), ("assistant", "A"), ("user", "Two"), ("assistant", "B"), ("user", "Three")]
    assert said(provider.requests[2]) == history
    assert await StoredResponse.objects.acount() == (3 if store else 0)


async def test_what_is_not_stored_is_known_to_its_own_socket_alone(dial: Connect, settings: Any) -> None:
    async with scripted(settings, streamed("A")), dial() as socket, dial() as other:
        first = await socket.response(store=False)
        for asking, fields, code in (
            (other, {"store": False}, "previous_response_not_found"),
            (socket, {"store": True}, None),
        ):
            await asking.create("Two", previous_response_id=first["id"], **fields)
            error = (await asking.to_end())[-1]
            assert (error["type"], error["status"]) == ("error", 400)
            assert code is None or error["error"]["code"] == code


async def test_the_oldest_unstored_responses_make_room(
    dial: Connect, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unstored, "MAX_RESPONSES", 1)
    async with scripted(settings, streamed("A")), dial() as socket:
        first = await socket.response(store=False)
        second = await socket.response(store=False)
        await socket.response(store=False, previous_response_id=second["id"])
        await socket.create(store=False, previous_response_id=first["id"])
        assert (await socket.to_end())[-1]["error"]["code"] == "previous_response_not_found"


@pytest.mark.parametrize("store", [True, False])
async def test_input_may_be_kept_without_an_answer(dial: Connect, settings: Any, store: bool) -> None:
    async with scripted(settings, streamed("A")) as provider, dial() as socket:
        kept = await socket.response("One", store=store, generate=False)
        assert (kept["status"], kept["output"], provider.requests) == ("completed", [], [])
        await socket.response("Two", store=store, previous_response_id=kept["id"])
    assert said(provider.requests[0]) == [("user", "One"), ("user", "Two")]


async def test_a_provider_of_the_same_wire_is_answered_alike(dial: Connect, settings: Any) -> None:
    async with scripted(settings, Reply(pieces=[sse(*STREAM["responses"])], headers=SSE)) as provider, dial() as socket:
        for store in (True, False):
            await socket.create(model="r:m", store=store, stream_id="a.b-c_1")
            events = await socket.to_end()
            assert types_of(events) == types_of(STREAM["responses"])
            assert {event["stream_id"] for event in events} == {"a.b-c_1"}
    assert not {"type", "stream_id", "generate"} & set(provider.requests[0])
    assert provider.requests[0]["stream"] is True


async def test_a_response_in_the_background_goes_on_without_its_socket(
    dial: Connect, api: Client, settings: Any
) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("He", "llo", gate=gate)):
        async with dial() as socket:
            await socket.create(background=True)
            created = await socket.event("response.created")
            delta = await socket.event("response.output_text.delta")
        gate.set()
        response_id = created["response"]["id"]
        assert text_of(await finished(api, response_id)) == "Hello"
    rest = await events_of(api, response_id, delta["sequence_number"])
    assert rest[0].data["sequence_number"] == delta["sequence_number"] + 1


async def test_a_background_response_is_shown_to_its_end(dial: Connect, settings: Any) -> None:
    async with scripted(settings, streamed("He", "llo")), dial() as socket:
        await socket.create(background=True, stream_id="lane")
        events = await socket.to_end()
    assert types_of(events)[:2] == ["response.created", "response.queued"]
    assert {event["stream_id"] for event in events} == {"lane"}
    assert text_of(events[-1]["response"]) == "Hello"


async def test_a_client_that_leaves_cancels_its_responses(dial: Connect, api: Client, settings: Any) -> None:
    gate = asyncio.Event()
    async with scripted(settings, streamed("He", "llo", gate=gate)):
        async with dial() as socket:
            await socket.create()
            created = await socket.event("response.created")
            await socket.event("response.output_text.delta")
        await eventually(lambda: SOCKETS.count == 0)
        gate.set()
    kept = (await api.get(f"{URL}/{created['response']['id']}")).json
    assert kept["status"] == "cancelled"
    assert text_of(kept).startswith("He")


@pytest.mark.parametrize(
    ("frame", "param"),
    [
        ("[]", None),
        ("{", None),
        ("null", None),
        ("{}", "type"),
        ('{"type": 5}', "type"),
        ('{"type": "response.other"}', "type"),
        ('{"type": "response.create", "input": "x"}', "model"),
        ('{"type": "response.create", "model": "c:m"}', "input"),
        ('{"type": "response.create", "model": "c:m", "input": "x", "stream_id": "a b"}', "stream_id"),
        ('{"type": "response.create", "model": "c:m", "input": "x", "stream_id": 5}', "stream_id"),
        ('{"type": "response.create", "model": "c:m", "input": "x", "generate": 5}', "generate"),
        ('{"type": "response.create", "model": "c:m", "input": "x", "store": 5}', "store"),
        (
            '{"type": "response.create", "model": "c:m", "input": "x", "generate": false, "background": true}',
            "generate",
        ),
        ('{"type": "response.create", "model": "unknown:m", "input": "x"}', "model"),
        ('{"type": "response.create", "model": "unknown:m", "input": "x", "generate": false}', "model"),
        ('{"type": "response.steer"}', "previous_response_id"),
        (b"{}", None),
    ],
)
async def test_a_bad_frame_is_an_error_and_the_socket_goes_on(
    dial: Connect, settings: Any, frame: Any, param: str | None
) -> None:
    async with scripted(settings, streamed("A")), dial() as socket:
        await socket.connection.send(frame)
        error = await socket.event()
        assert (error["type"], error["error"]["param"], 400 <= error["status"] < 500) == ("error", param, True)
        assert text_of(await socket.response()) == "A"


async def test_a_provider_that_fails_is_told_as_over_http(dial: Connect, settings: Any) -> None:
    refused = Reply(400, [body({"error": {"message": "no such thing", "type": "invalid_request_error"}})])
    async with scripted(settings, refused, Reply(500, [b"{}"]), streamed("A")), dial() as socket:
        await socket.create(stream_id="s")
        error = await socket.event()
        assert (error["status"], error["stream_id"], error["error"]["message"]) == (400, "s", "no such thing")
        await socket.create()
        assert (await socket.event())["status"] == 502
        assert text_of(await socket.response()) == "A"


async def test_lanes_and_waiting_requests_have_a_limit(
    dial: Connect, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MAX_LANES", 1)
    monkeypatch.setattr(lanes, "MAX_WAITING", 2)
    gate = asyncio.Event()
    async with scripted(settings, streamed("A", gate=gate), streamed("B"), streamed("C")), dial() as socket:
        await socket.create(stream_id="one")
        await socket.event("response.output_text.delta", "response.output_item.added")
        await socket.create(stream_id="two")
        error = await socket.event("error")
        assert (error["status"], error["stream_id"], error["error"]["param"]) == (429, "two", "stream_id")
        await socket.create(stream_id="one")
        await socket.create(stream_id="one")
        assert (await socket.event("error"))["status"] == 429
        gate.set()
        assert [text_of((await socket.event("response.completed"))["response"]) for _ in range(2)] == ["A", "B"]
        # What was answered counts no more.
        assert text_of(await socket.response(stream_id="two")) == "C"


async def test_a_frame_that_is_too_large_closes_the_socket(dial: Connect, settings: Any) -> None:
    async with scripted(settings, streamed("A")), dial() as socket:
        assert text_of(await socket.response("x" * 3 * 1024 * 1024, store=False)) == "A"
        # The server may close it while it is still being sent.
        with suppress(ConnectionClosed):
            await socket.create("x" * connection.ResponsesConnection.max_frame_bytes)
        assert await socket.closed() == 1009


async def test_an_idle_socket_is_closed(dial: Connect, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_SECONDS", 0.0)
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.01
    async with dial() as socket:
        assert await socket.closed() == 1001


async def test_the_upgrade_needs_a_key_with_the_scope(dial: Connect, colleague: Caller) -> None:
    for caller, status in ((None, 401), (colleague, 403)):
        with pytest.raises(InvalidStatus) as refusal:
            async with dial(caller):
                pass
        assert refusal.value.response.status_code == status
        assert b'"error":{' in (refusal.value.response.body or b"")


async def test_a_revoked_key_ends_the_socket_and_what_it_asked_for(
    dial: Connect, api: Client, owner: Caller, settings: Any
) -> None:
    gate = asyncio.Event()
    assert owner.principal.allows(INFERENCE)
    async with scripted(settings, streamed("He", "llo", gate=gate)), dial() as socket:
        await socket.create()
        await socket.event("response.output_text.delta")
        key = await ApiKey.objects.aget(name="test key", tenant=owner.principal.tenant_id)
        await database.run(api_key_revoke, key=key)
        assert await socket.closed() == 4501
        gate.set()


async def test_sockets_are_counted_and_have_a_ceiling(dial: Connect, owner: Caller, settings: Any) -> None:
    settings.GATEWAY_MAX_FOLLOWERS_PER_TENANT = 1
    async with dial() as socket:
        await socket.connection.ping()
        await eventually(lambda: SOCKETS.count == 1)
        async with dial() as second:
            assert await second.closed() == 1013
    await eventually(lambda: SOCKETS.count == 0 and not FOLLOWERS._open[owner.principal.tenant_id])


async def test_requests_take_from_the_paths_limit(dial: Connect, settings: Any) -> None:
    async with scripted(settings, streamed("A"), providers="") as provider:
        from tests.faces.inference.scripted import CONFIG, configure

        limit = '    rate_limit: {"/v1/responses": {rpm: 1, enabled: true}}\n'
        configure(settings, CONFIG.format(url=provider.url, providers="", retries=0) + limit)
        async with dial() as socket:
            await socket.response()
            await socket.create()
            error = await socket.event()
    assert (error["status"], error["error"]["code"]) == (429, "rate_limit_exceeded")
    assert int(error["error"]["headers"]["retry-after"]) > 0


async def test_a_stop_lets_present_responses_end(dial: Connect, settings: Any) -> None:
    from faces.responses.socket.open_connections import RESPONSE_SOCKETS

    gate = asyncio.Event()
    async with scripted(settings, streamed("He", "llo", gate=gate)), dial() as busy, dial() as idle:
        await busy.create()
        await busy.event("response.output_text.delta")
        await RESPONSE_SOCKETS.drain()
        assert await idle.closed() == 1012
        await busy.create(stream_id="new")
        assert (await busy.event("error"))["status"] == 503
        gate.set()
        assert text_of((await busy.event("response.completed"))["response"]) == "Hello"
        assert await busy.closed() == 1012


async def test_another_tenants_responses_are_unknown_on_a_socket(
    dial: Connect, api: Client, stranger: Caller, settings: Any
) -> None:
    gate = asyncio.Event()
    async with (
        scripted(settings, streamed("A"), streamed("He", "llo", gate=gate)),
        dial() as mine,
        dial(stranger) as theirs,
    ):
        ended = (await mine.response())["id"]
        await mine.create()
        running = (await mine.event("response.created"))["response"]["id"]
        for response_id in (ended, "resp_unknown"):
            await theirs.create(previous_response_id=response_id)
            assert (await theirs.event())["error"]["code"] == "previous_response_not_found"
        await theirs.steer(running)
        assert (await theirs.event())["error"]["code"] == "response_not_found"
        gate.set()


async def test_a_client_that_reads_nothing_is_cut_off(dial: Connect, settings: Any) -> None:
    settings.GATEWAY_SLOW_FOLLOWER_SECONDS = 0.2
    pieces = [sse({**STREAM["responses"][3], "delta": "x" * 100_000}) for _ in range(400)]
    reply = Reply(pieces=[sse(*STREAM["responses"][:3]), *pieces, sse(*STREAM["responses"][4:])], headers=SSE)
    async with scripted(settings, reply), dial(max_queue=1, open_timeout=60) as socket:
        await socket.create(model="r:m")
        await eventually(lambda: SOCKETS.count == 1)
        # The transport's buffers fill up, and the rest is never sent.
        await eventually(lambda: SOCKETS.count == 0)
    assert (await StoredResponse.objects.aget()).status == "cancelled"


async def test_requests_are_in_the_memory_for_bodies_until_they_are_answered(dial: Connect, settings: Any) -> None:
    gate = asyncio.Event()
    large = "x" * 200_000
    async with scripted(settings, streamed("A", gate=gate), streamed("B")), dial() as socket:
        before = BODIES.held_bytes
        await socket.create(large, store=False)
        await socket.event("response.created")
        assert BODIES.held_bytes - before > len(large)
        settings.GATEWAY_BODY_MEMORY_BYTES = 300_000
        await socket.create(large, stream_id="other")
        assert (await socket.event("error"))["status"] == 429
        settings.GATEWAY_BODY_MEMORY_BYTES = 10_000_000
        gate.set()
        await socket.to_end()
        # The conversation is remembered, because it was not stored.
        await eventually(lambda: BODIES.held_bytes - before < 2 * len(large))
        assert BODIES.held_bytes - before > len(large)
    await eventually(lambda: BODIES.held_bytes == before)
