"""POST /tool/execute: every outcome, repetition, and who may ask."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from core_app import database
from tests.conftest import Caller
from tests.faces.codelab.ide import TEST_KEY, ide
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Answer, Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)


class Runtime:
    """An agent runtime with a key between services."""

    def __init__(self, gateway: GatewayHarness, key: str | None = TEST_KEY) -> None:
        self._client = gateway.client(None)
        self._headers = {} if key is None else {"X-Internal-Auth": key}

    async def execute(self, session: str, call_id: str = "call_0", **fields: Any) -> Answer:
        body = {"type": "tool_call", "call_id": call_id, "tool_name": "read_file", "arguments": {"path": "a"}, **fields}
        return await self._client.post(f"/tool/execute/{session}", body, headers=self._headers)

    async def raw(self, session: str, body: bytes) -> Answer:
        return await self._client.post(f"/tool/execute/{session}", body=body, headers=self._headers)


@pytest.fixture
def runtime(gateway: GatewayHarness) -> Runtime:
    return Runtime(gateway)


RESULTS = ["text", '{"looks": "like json"}', {"content": [1, None]}, None, "", False, "x" * 300_000]


@pytest.mark.parametrize("result", RESULTS)
async def test_the_ide_runs_the_tool_and_the_runtime_gets_its_result(
    server: LiveServer, owner: Caller, runtime: Runtime, result: Any
) -> None:
    async with ide(server.port, "s", owner.secret) as client:
        asked = asyncio.create_task(runtime.execute("s"))
        call = await client.frame("tool_call")
        assert call.pop("offset") >= 0
        assert call == {
            "type": "tool_call",
            "call_id": "call_0",
            "tool_name": "read_file",
            "arguments": {"path": "a"},
            "requires_approval": False,
        }
        await client.send("tool_result", call_id="call_0", result=result, message_id="m")
        reply = await client.frame("ack")
        assert (reply["status"], reply["call_id"], reply["message_id"]) == ("ok", "call_0", "m")
        answer = await asked
        assert (answer.status, answer.json) == (200, {"status": "ok", "result": result})
        again = await runtime.execute("s")
        assert (again.status, again.body) == (answer.status, answer.body)
        assert [frame["type"] for frame in client.frames].count("tool_call") == 1


@pytest.mark.parametrize(("error", "detail"), [("no such file", "no such file"), ({"code": 2}, '{"code":2}')])
async def test_the_tools_error_is_an_answer(
    server: LiveServer, owner: Caller, runtime: Runtime, error: Any, detail: str
) -> None:
    async with ide(server.port, "s", owner.secret) as client:
        asked = asyncio.create_task(runtime.execute("s"))
        await client.frame("tool_call")
        await client.send("tool_result", call_id="call_0", error=error)
        answer = await asked
        assert (answer.status, answer.json) == (200, {"status": "error", "detail": detail, "error": error})


async def test_an_unknown_session_is_not_found(runtime: Runtime) -> None:
    answer = await runtime.execute("nothing")
    assert (answer.status, answer.json) == (404, {"status": "error", "detail": "Session nothing not found"})


async def test_without_a_client_the_call_is_not_made(
    server: LiveServer, owner: Caller, runtime: Runtime, api: Client
) -> None:
    session = await api.session()
    answer = await runtime.execute(session)
    detail = f"No client is connected to session {session}"
    assert (answer.status, answer.json) == (409, {"status": "error", "detail": detail})
    async with ide(server.port, session, owner.secret, since=0) as client:
        await client.send("nothing")
        assert (await client.frame())["type"] == "error", "no call is left behind"


async def test_a_client_that_is_too_late_has_timed_out(server: LiveServer, owner: Caller, runtime: Runtime) -> None:
    async with ide(server.port, "s", owner.secret) as client:
        answer = await runtime.execute("s", timeout_seconds=0.05)
        detail = "Timeout waiting for tool_result (call_id=call_0)"
        assert (answer.status, answer.json) == (504, {"status": "error", "detail": detail})
        assert (await runtime.execute("s")).body == answer.body
        await client.send("tool_result", call_id="call_0", result=1)
        assert (await client.frame("ack"))["status"] == "error"


async def test_calls_under_way_at_the_same_time_are_told_apart(
    server: LiveServer, owner: Caller, runtime: Runtime
) -> None:
    async with ide(server.port, "s", owner.secret) as client:
        asked = [asyncio.create_task(runtime.execute("s", f"call_{number}")) for number in (0, 1, 1, 2)]
        calls = [(await client.frame("tool_call"))["call_id"] for _ in range(3)]
        assert sorted(calls) == ["call_0", "call_1", "call_2"]
        for call_id in reversed(calls):
            await client.send("tool_result", call_id=call_id, result=call_id)
        answers = [answer.json["result"] for answer in await asyncio.gather(*asked)]
        assert answers == ["call_0", "call_1", "call_1", "call_2"]


async def test_a_tool_runs_while_a_turn_is_under_way(
    server: LiveServer, owner: Caller, runtime: Runtime, api: Client
) -> None:
    session = await api.session(providerOpts={"delayMs": 1000})
    async with ide(server.port, session, owner.secret) as client:
        await client.send("user_message", content="word " * 500, message_id=1)
        await client.frame("ack")
        asked = asyncio.create_task(runtime.execute(session))
        await client.frame("tool_call")
        await client.send("tool_result", call_id="call_0", result="done")
        assert (await asked).json == {"status": "ok", "result": "done"}
        await client.send("abort")
        assert (await client.frame("ack"))["status"] == "ok"
        assert (await client.frame("ack"))["status"] == "received"
        assert not [token for token in await client.answer() if token == "done"]
    messages = (await api.get(f"/v1/sessions/{session}/messages")).json["messages"]
    assert all(message["role"] != "tool_result" for message in messages)


async def test_the_newest_socket_is_asked_and_the_next_one_when_it_goes(
    server: LiveServer, owner: Caller, runtime: Runtime
) -> None:
    async with ide(server.port, "s", owner.secret) as older:
        async with ide(server.port, "s", owner.secret) as newer:
            asked = asyncio.create_task(runtime.execute("s"))
            await newer.frame("tool_call")
        await older.frame("tool_call")
        await older.send("tool_result", call_id="call_0", result="from the other")
        assert (await asked).json["result"] == "from the other"
        assert [frame["type"] for frame in older.frames].count("tool_call") == 1


async def test_a_client_that_returns_within_the_grace_is_asked_again(
    server: LiveServer, owner: Caller, runtime: Runtime, settings: Any
) -> None:
    settings.GATEWAY_RECONNECT_GRACE = 60.0
    async with ide(server.port, "s", owner.secret) as client:
        asked = asyncio.create_task(runtime.execute("s"))
        offset = (await client.frame("tool_call"))["offset"]
    async with ide(server.port, "s", owner.secret, since=offset) as client:
        await client.frame("tool_call")
        await client.send("tool_result", call_id="call_0", result="back")
        assert (await asked).json["result"] == "back"


async def test_a_client_that_does_not_return_fails_the_call(
    server: LiveServer, owner: Caller, runtime: Runtime
) -> None:
    async with ide(server.port, "s", owner.secret) as client:
        asked = asyncio.create_task(runtime.execute("s"))
        await client.frame("tool_call")
    answer = await asked
    assert (answer.status, answer.json["detail"]) == (409, "No client is connected to session s")
    assert (await runtime.execute("s")).body == answer.body


async def test_a_session_that_is_closed_ends_its_calls(
    server: LiveServer, owner: Caller, runtime: Runtime, api: Client
) -> None:
    async with ide(server.port, "s", owner.secret) as client:
        asked = asyncio.create_task(runtime.execute("s"))
        await client.frame("tool_call")
        await api.delete("/v1/sessions/s")
        assert (await asked).status == 409
    assert (await runtime.execute("s", "call_1")).status == 409


async def test_a_strangers_result_reaches_no_call_and_no_other_session(
    server: LiveServer, owner: Caller, stranger: Caller, runtime: Runtime
) -> None:
    async with (
        ide(server.port, "s", owner.secret) as mine,
        ide(server.port, "t", owner.secret) as beside,
        ide(server.port, "s", stranger.secret) as theirs,
    ):
        asked = asyncio.create_task(runtime.execute("s"))
        await mine.frame("tool_call")
        for client in (theirs, beside):
            await client.send("tool_result", call_id="call_0", result="forged")
            reply = await client.frame()
            assert (reply["type"], reply["status"]) == ("ack", "error")
        await mine.send("tool_result", call_id="call_0", result="mine")
        assert (await asked).json["result"] == "mine"


async def test_a_reader_is_offered_no_call_and_answers_none(
    server: LiveServer, owner: Caller, runtime: Runtime, api: Client
) -> None:
    session = await api.session()
    token = (await api.post(f"/v1/sessions/{session}/stream-token")).json["token"]
    async with ide(server.port, session, owner.secret) as writer, ide(server.port, session, token=token) as reader:
        asked = asyncio.create_task(runtime.execute(session))
        await writer.frame("tool_call")
        await reader.send("tool_result", call_id="call_0", result="forged")
        assert (await reader.frame("ack"))["status"] == "error"
        await writer.send("tool_result", call_id="call_0", result="mine")
        assert (await asked).json["result"] == "mine"
        assert "tool_call" not in [frame["type"] for frame in reader.frames]


async def test_another_tenants_session_is_not_found(server: LiveServer, stranger: Caller, runtime: Runtime) -> None:
    async with ide(server.port, "theirs", stranger.secret):
        assert (await runtime.execute("theirs")).status == 404
        assert (await runtime.execute(f"{stranger.principal.tenant_slug}.theirs")).status == 404


async def test_a_key_for_every_tenant_names_the_tenant(
    server: LiveServer, owner: Caller, stranger: Caller, gateway: GatewayHarness, settings: Any
) -> None:
    settings.GATEWAY_INTERNAL_API_KEY = ["shared:*"]
    runtime = Runtime(gateway, "shared")
    async with ide(server.port, "s", owner.secret) as mine, ide(server.port, "s", stranger.secret) as theirs:
        for caller, client in ((owner, mine), (stranger, theirs)):
            asked = asyncio.create_task(runtime.execute(f"{caller.principal.tenant_slug}.s"))
            await client.frame("tool_call")
            await client.send("tool_result", call_id="call_0", result=caller.principal.tenant_slug)
            assert (await asked).json["result"] == caller.principal.tenant_slug
        assert (await runtime.execute("s")).status == 404


@pytest.mark.parametrize("key", [None, "", "wrong", TEST_KEY + "x", TEST_KEY[:-1], "ключ"])
async def test_a_wrong_key_is_unauthorized(gateway: GatewayHarness, key: str | None) -> None:
    given = None if key is None else key.encode().decode("latin-1")
    answer = await Runtime(gateway, given).execute("s")
    assert (answer.status, answer.json) == (401, {"detail": "unauthorized"})


async def test_an_api_key_is_no_key_between_services(gateway: GatewayHarness, owner: Caller) -> None:
    assert (await Runtime(gateway, owner.secret).execute("s")).status == 401


@pytest.mark.parametrize("keys", [[], [""], [":"]])
async def test_without_a_key_it_is_disabled(gateway: GatewayHarness, settings: Any, keys: list[str]) -> None:
    settings.GATEWAY_INTERNAL_API_KEY = keys
    for shown in (None, "", TEST_KEY):
        answer = await Runtime(gateway, shown).execute("s")
        assert (answer.status, answer.json) == (503, {"detail": "disabled"})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json",
        b"[]",
        b"{}",
        b'{"call_id": "a"}',
        b'{"call_id": "", "tool_name": "t"}',
        b'{"call_id": "a", "tool_name": ""}',
        b'{"call_id": 1, "tool_name": "t"}',
        b'{"call_id": "a", "tool_name": "t", "arguments": []}',
        b'{"call_id": "a", "tool_name": "t", "type": "other"}',
        b'{"call_id": "a", "tool_name": "t", "timeout_seconds": 0}',
        b'{"call_id": "a", "tool_name": "t", "timeout_seconds": 301}',
        b'{"call_id": "a", "tool_name": "t", "timeout_seconds": "5"}',
    ],
)
async def test_a_bad_body_is_unprocessable(runtime: Runtime, body: bytes) -> None:
    answer = await runtime.raw("s", body)
    assert answer.status == 422
    assert answer.json["detail"]


async def test_every_valid_body_is_answered_202_where_the_operator_wants_it(
    server: LiveServer, owner: Caller, runtime: Runtime, settings: Any
) -> None:
    settings.GATEWAY_COMPAT_STATUS_202 = True
    async with ide(server.port, "s", owner.secret) as client:
        asked = asyncio.create_task(runtime.execute("s"))
        await client.frame("tool_call")
        await client.send("tool_result", call_id="call_0", result=1)
        answer = await asked
        assert (answer.status, answer.json) == (202, {"status": "ok", "result": 1})
    answer = await runtime.execute("nothing")
    assert (answer.status, answer.json["status"]) == (202, "error")
    assert (await runtime.raw("s", b"{}")).status == 422


async def test_a_waiting_call_holds_no_thread(
    server: LiveServer, owner: Caller, runtime: Runtime, api: Client, settings: Any
) -> None:
    async with ide(server.port, "s", owner.secret) as client:
        asked = [asyncio.create_task(runtime.execute("s", f"c{number}")) for number in range(60)]
        calls = [(await client.frame("tool_call"))["call_id"] for _ in asked]
        assert (await api.get("/v1/sessions/s")).status == 200
        assert await database.run(lambda: True)
        for call_id in calls:
            await client.send("tool_result", call_id=call_id, result=None)
            assert (await client.frame("ack"))["status"] == "ok"
        assert {answer.status for answer in await asyncio.gather(*asked)} == {200}


async def test_keys_are_in_no_log(
    server: LiveServer, owner: Caller, runtime: Runtime, gateway: GatewayHarness, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    caplog.set_level("INFO", logger="websockets.client")  # the IDE of the test
    async with ide(server.port, "s", token=owner.secret) as client:
        asked = asyncio.create_task(runtime.execute("s"))
        await client.frame("tool_call")
        await client.send("tool_result", call_id="call_0", result=1)
        await asked
    await runtime.raw("s", b"{")
    await Runtime(gateway, "a-wrong-service-key").execute("s")
    assert caplog.records
    for secret in (TEST_KEY, owner.secret, "a-wrong-service-key"):
        assert secret not in caplog.text
