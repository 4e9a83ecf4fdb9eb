"""Frames of the WebSocket: replies and their order, resumption, and the replies to bad frames."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_asyncio
from django.db import connections
from websockets.exceptions import InvalidStatus

from core_app import database
from events_app import log
from gateway_project.process.server import server_config
from sessions_app.models import AgentSession
from tenants_app.models import Tenant
from tenants_app.principal import SCOPES
from tests.conftest import Caller, caller
from tests.faces.native.live_server import LiveServer, SocketClient
from tests.gateway_harness import WAIT, Client, GatewayHarness
from tests.shared_gateway import HERE, api, colleague, gateway, owner, stranger, tenant, transactional_db

__all__ = ["api", "colleague", "gateway", "owner", "stranger", "tenant", "transactional_db"]

pytestmark = HERE


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(gateway: GatewayHarness) -> AsyncIterator[LiveServer]:
    """The server of all tests here."""
    server = LiveServer()
    await server.start()
    yield server
    await server.stop()


def order_of(socket: SocketClient) -> dict[str, list[str]]:
    """Returns the order of frames by run: `answer`, and the events by type."""
    runs: dict[str, list[str]] = {}
    for frame in socket.frames:
        request_id = frame["data"]["requestId"] if "event" in frame else frame.get("requestId")
        runs.setdefault(str(request_id), []).append(frame.get("event", "answer"))
    return runs


@asynccontextmanager
async def locked_session(session: str) -> AsyncIterator[None]:
    """Locks the session: nobody else can write to it inside the block."""
    locked, release = threading.Event(), threading.Event()

    def hold() -> None:
        with database.write_transaction():
            log.lock(AgentSession.objects.get(public_id=session).stream_id)
            locked.set()
            release.wait(WAIT)

    task = asyncio.create_task(asyncio.to_thread(_close_connections_after, hold))
    await asyncio.to_thread(locked.wait, WAIT)
    try:
        yield
    finally:
        release.set()
        await task


def _close_connections_after(work: Any) -> None:
    try:
        work()
    finally:
        connections.close_all()


async def test_an_answer_comes_before_the_events_of_its_action_fifty_times(
    api: Client, server: LiveServer, owner: Caller, settings: Any
) -> None:
    settings.GATEWAY_MAX_QUEUED_PROMPTS = 1000
    session = await api.session()
    async with server.socket(session, owner) as socket:
        requests = [await socket.prompt(f"number {number}") for number in range(50)]
        for request_id in requests:
            await socket.run_end(request_id)
    order = order_of(socket)
    assert [order[request_id][:2] for request_id in requests] == [["answer", "prompt_received"]] * 50


async def test_concurrent_actions_are_each_answered_once_and_before_their_events(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    async with server.socket(session, owner) as socket:
        refs = [await socket.send("prompt", text=f"number {number}") for number in range(16)]
        answers = [await socket.reply() for _ in refs]
        assert sorted(answer["requestRef"] for answer in answers) == sorted(refs)
        requests = [answer["requestId"] for answer in answers]
        for request_id in requests:
            await socket.run_end(request_id)
    order = order_of(socket)
    assert all(order[request_id][:2] == ["answer", "prompt_received"] for request_id in requests)


async def test_events_carry_their_offset_and_say_what_the_log_says(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    async with server.socket(session, owner) as socket:
        await socket.run_end(await socket.prompt('words “with” \\ "quotes" and 漢字'))
    events = [frame for frame in socket.frames if "event" in frame]
    logged = await api.log(session)
    assert events == [{"event": frame.event, "data": frame.data, "id": frame.id} for frame in logged]


async def test_without_since_a_socket_is_live(api: Client, server: LiveServer, owner: Caller) -> None:
    session = await api.session()
    await api.run(session, "before")
    async with server.socket(session, owner) as socket:
        request_id = await socket.prompt("after")
        await socket.run_end(request_id)
    assert {frame["data"]["requestId"] for frame in socket.frames if "event" in frame} == {request_id}


async def test_a_socket_resumes_after_the_offset_it_names(api: Client, server: LiveServer, owner: Caller) -> None:
    session = await api.session()
    await api.run(session, "first")
    await api.run(session, "second")
    logged = [frame.id for frame in await api.log(session)]
    async with server.socket(session, owner, since=3) as socket:
        seen = [(await socket.event())["id"] for _ in logged[3:]]
        assert seen == logged[3:]
        await socket.run_end(await socket.prompt("third"))


async def test_since_zero_shows_everything(api: Client, server: LiveServer, owner: Caller) -> None:
    session = await api.session()
    await api.run(session, "first")
    logged = [frame.id for frame in await api.log(session)]
    async with server.socket(session, owner, since=0) as socket:
        assert [(await socket.event())["id"] for _ in logged] == logged


async def test_a_position_past_the_head_is_said_and_set_to_the_head(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    await api.run(session, "first")
    head = (await api.log(session))[-1].id
    async with server.socket(session, owner, since=head + 10) as socket:
        dropped = await socket.event()
        assert dropped == {
            "event": "events_dropped",
            "data": {"from": head + 10, "to": head, "reason": "reset"},
            "id": head,
        }
        request_id = await socket.prompt("second")
        assert (await socket.event())["data"]["requestId"] == request_id


async def test_two_sockets_see_the_same_events_and_their_own_answers(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    async with server.socket(session, owner) as one, server.socket(session, owner) as two:
        request_id = await one.prompt("hello")
        await one.run_end(request_id)
        await two.run_end(request_id)
    assert [frame for frame in one.frames if "event" in frame] == two.frames
    assert len([frame for frame in one.frames if "event" not in frame]) == 1


async def test_every_action_is_answered_with_the_result_that_rest_gives(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session(model="demo:tour", providerOpts={"delayMs": 20})
    async with server.socket(session, owner) as socket:
        assert await socket.ask("ping") == {"ok": True, "action": "ping"}
        answer = await socket.ask("prompt", text="long 10000")
        request_id = answer["requestId"]
        assert answer == {
            "ok": True,
            "action": "prompt",
            "requestId": request_id,
            "sessionId": session,
            "queued": False,
        }
        await socket.event("message_delta")
        steered = await socket.ask("steer", text="shorter")
        assert steered == {"ok": True, "action": "steer", "requestId": request_id, "sessionId": session}
        aborted = await socket.ask("abort", reason="enough")
        assert aborted == {
            "ok": True,
            "action": "abort",
            "requestId": request_id,
            "sessionId": session,
            "status": "aborted",
        }
        end = await socket.run_end(request_id)
        assert (end["event"], end["data"]["message"]) == ("agent_abort", "enough")
        assert (await socket.ask("abort"))["error"] == "conflict"
        assert (await socket.ask("steer", text="x"))["error"] == "conflict"


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        ("{", {"action": None, "error": "bad_request"}),
        ("[1]", {"action": None, "error": "bad_request"}),
        ('"prompt"', {"action": None, "error": "bad_request"}),
        ("{}", {"action": None, "error": "bad_request", "field": "action"}),
        (
            '{"action":7,"requestRef":"r"}',
            {"action": None, "error": "bad_request", "field": "action", "requestRef": "r"},
        ),
        ('{"action":"dance"}', {"action": "dance", "error": "bad_request", "field": "action"}),
        ('{"action":"ping","requestRef":{}}', {"action": "ping", "error": "bad_request", "field": "requestRef"}),
        ('{"action":"prompt"}', {"action": "prompt", "error": "bad_request", "field": "text"}),
        ('{"action":"prompt","text":7}', {"action": "prompt", "error": "bad_request", "field": "text"}),
        ('{"action":"prompt","text":""}', {"action": "prompt", "error": "bad_request", "field": "text"}),
        ('{"action":"approve"}', {"action": "approve", "error": "bad_request", "field": "approvalId"}),
        ('{"action":"respond","ref":"x","response":"y"}', {"action": "respond", "error": "not_found", "field": "ref"}),
        ('{"action":"tool_result","callId":"x"}', {"action": "tool_result", "error": "bad_request", "field": "result"}),
        ('{"action":"ping","requestRef":NaN}', {"action": None, "error": "bad_request"}),
        (b"\xff\xfe", {"action": None, "error": "bad_request"}),
        ("[" * 100_000, {"action": None, "error": "bad_request"}),
    ],
)
async def test_a_bad_frame_is_answered_and_the_socket_stays(
    api: Client, server: LiveServer, owner: Caller, frame: str | bytes, expected: dict[str, Any]
) -> None:
    session = await api.session()
    async with server.socket(session, owner) as socket:
        await socket.send_raw(frame)
        answer = await socket.reply()
        assert answer.pop("message")
        assert answer == {"ok": False, **expected}
        assert (await socket.ask("ping"))["ok"]


async def test_a_binary_frame_of_json_is_taken(api: Client, server: LiveServer, owner: Caller) -> None:
    session = await api.session()
    async with server.socket(session, owner) as socket:
        await socket.send_raw(json.dumps({"action": "ping", "requestRef": 7}).encode())
        assert await socket.reply() == {"ok": True, "action": "ping", "requestRef": 7}


async def test_a_frame_may_have_a_mebibyte(api: Client, server: LiveServer, owner: Caller) -> None:
    session = await api.session()
    async with server.socket(session, owner) as socket:
        empty = len(json.dumps({"action": "ping", "pad": ""}))
        await socket.send_raw(json.dumps({"action": "ping", "pad": "x" * (1024 * 1024 - empty)}))
        assert (await socket.reply())["ok"]


@pytest.mark.parametrize("pad", ["x" * (1024 * 1024), "漢" * (400 * 1024)])
async def test_a_larger_frame_is_a_protocol_violation(api: Client, server: LiveServer, owner: Caller, pad: str) -> None:
    session = await api.session()
    async with server.socket(session, owner) as socket:
        await socket.send_raw(f'{{"action":"ping","pad":"{pad}"}}')
        assert await socket.close_code() == 4502


async def test_past_sixteen_actions_under_way_the_next_is_refused(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    async with server.socket(session, owner) as socket:
        async with locked_session(session):
            refs = [await socket.send("prompt", text=f"number {number}") for number in range(16)]
            refused = await socket.ask("prompt", text="one too many")
            assert refused["error"] == "rate_limited"
            assert (await socket.ask("ping"))["ok"]
        answers = [await socket.reply() for _ in refs]
        assert {answer["requestRef"] for answer in answers} == set(refs)
        assert all(answer["ok"] for answer in answers)
        for answer in answers:
            await socket.run_end(answer["requestId"])


async def test_what_was_sent_before_the_client_left_is_done(api: Client, server: LiveServer, owner: Caller) -> None:
    session = await api.session()
    async with server.socket(session, owner) as socket:
        await socket.send("prompt", text="and away")
        await socket.disconnect()
    async with api.events(session, since=0) as reader:
        frames = await reader.read_to_end()
    assert frames[-1].data["lastMessage"]["content"].strip() == "and away"


async def test_prompts_take_from_the_keys_requests_and_other_frames_do_not(
    api: Client, server: LiveServer, tenant: Tenant
) -> None:
    poor = await database.run(caller, tenant, SCOPES, rpm=2)
    session = await api.session()
    async with server.socket(session, poor) as socket:
        request_id = await socket.prompt("the second request")
        assert (await socket.ask("prompt", text="the third"))["error"] == "rate_limited"
        await socket.run_end(request_id)
        assert [(await socket.ask("abort"))["error"] for _ in range(5)] == ["conflict"] * 5


@pytest.mark.parametrize(
    ("session", "who", "status", "error"),
    [
        ("its", None, 401, "unauthorized"),
        ("its", "colleague", 403, "forbidden"),
        ("its", "stranger", 404, "session_not_found"),
        ("none", "owner", 404, "session_not_found"),
    ],
)
async def test_an_upgrade_is_refused_as_an_http_answer(
    api: Client,
    server: LiveServer,
    owner: Caller,
    colleague: Caller,
    stranger: Caller,
    session: str,
    who: str | None,
    status: int,
    error: str,
) -> None:
    own = await api.session()
    someone = {"owner": owner, "colleague": colleague, "stranger": stranger}.get(who) if who is not None else None
    with pytest.raises(InvalidStatus) as refused:
        async with server.socket(own if session == "its" else session, someone):
            pass
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["error"] == error


@pytest.mark.parametrize("since", ["x", "-1", "", "1.", "1.5.1"])
async def test_a_position_that_is_no_number_is_refused(
    api: Client, server: LiveServer, owner: Caller, since: str
) -> None:
    session = await api.session()
    with pytest.raises(InvalidStatus) as refused:
        async with server.socket(session, owner, since=since):
            pass
    assert refused.value.response.status_code == 400
    assert json.loads(refused.value.response.body or b"")["field"] == "since"


async def test_a_key_may_come_in_the_address_and_from_any_origin(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    async with server.socket(session, api_key=owner.secret, headers={"Origin": "https://elsewhere.test"}) as socket:
        assert (await socket.ask("ping"))["ok"]


async def test_idle_sockets_are_kept_by_protocol_pings() -> None:
    assert server_config(lambda: None).ws_ping_interval == 20
