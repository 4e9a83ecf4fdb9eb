"""Editors that use sessions of the gateway as their agent, over WebSocket and over HTTP."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from acp import RequestError, schema
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from core_app import clock
from core_app.database import run
from faces.acp.face import CONNECTIONS
from tenants_app.models import ApiKey
from tests.conftest import Caller
from tests.faces.acp.editor import connected, text
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import WAIT, Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)

INITIALIZE = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": 1}}


@pytest.mark.parametrize("over", ["ws", "http"])
async def test_a_prompt_is_answered_in_pieces(server: LiveServer, owner: Caller, api: Client, over: str) -> None:
    async with connected(server.port, owner.secret, over=over) as (editor, agent):
        session = await agent.new_session(cwd="/work", model="demo:echo")
        answer = await agent.prompt(session_id=session.session_id, prompt=text("hello there"))
        assert answer.stop_reason == "end_turn"
        assert editor.text() == "hello there"
        assert answer.usage is not None
        assert answer.usage.total_tokens > 0
    log = await api.log(session.session_id)
    assert log[-1].event == "agent_end"
    assert answer.field_meta == {"offset": int(log[-1].id)} or answer.field_meta == {"offset": log[-1].id}


@pytest.mark.parametrize("over", ["ws", "http"])
@pytest.mark.parametrize(("decision", "status"), [("allow", "completed"), ("reject", "failed")])
async def test_an_approval_is_asked_of_the_editor(
    server: LiveServer, owner: Caller, over: str, decision: str, status: str
) -> None:
    async with connected(server.port, owner.secret, over=over) as (editor, agent):
        editor.decision = decision
        session = await agent.new_session(cwd="/work", model="demo:tour")
        answer = await agent.prompt(session_id=session.session_id, prompt=text("approve"))
        assert answer.stop_reason == "end_turn"
        (asked,) = editor.asked
        assert (asked.title, asked.raw_input) == ("demo_approval", {"action": "demo"})
        ends = [update for _, update in editor.updates if isinstance(update, schema.ToolCallProgress)]
        assert [(end.tool_call_id, end.status) for end in ends] == [(asked.tool_call_id, status)]


async def test_an_approval_that_the_editor_leaves_open_may_be_decided_elsewhere(
    server: LiveServer, owner: Caller, api: Client
) -> None:
    async with connected(server.port, owner.secret) as (editor, agent):
        editor.decision = None
        session = await agent.new_session(cwd="/work", model="demo:tour")
        prompting = asyncio.create_task(agent.prompt(session_id=session.session_id, prompt=text("approve")))
        async with api.events(session.session_id, since=0) as reader:
            asked = (await reader.next_of("approval_required")).data
            body = {"approvalId": asked["approvalId"]}
            assert (await api.post(f"/v1/sessions/{session.session_id}/approve", body)).status == 200
        assert (await prompting).stop_reason == "end_turn"


@pytest.mark.parametrize("over", ["ws", "http"])
async def test_a_session_is_replayed_from_its_beginning_or_from_an_offset(
    server: LiveServer, owner: Caller, api: Client, over: str
) -> None:
    session = await api.session(model="demo:echo")
    await api.run(session, "first words")
    async with connected(server.port, owner.secret, over=over) as (editor, agent):
        await agent.load_session(cwd="/work", session_id=session)
        assert editor.text(schema.UserMessageChunk) == "first words"
        assert editor.text() == "first words"
        answer = await agent.prompt(session_id=session, prompt=text("second words"))
        assert answer.stop_reason == "end_turn"
        seen = editor.updates[-1][0]
    await api.run(session, "third words")
    async with connected(server.port, owner.secret, over=over) as (editor, agent):
        await agent.load_session(cwd="/work", session_id=session, since=seen)
        assert editor.text(schema.UserMessageChunk) == "third words"
        assert editor.text() == "third words"


@pytest.mark.parametrize("over", ["ws", "http"])
async def test_a_cancelled_prompt_is_answered_as_cancelled(
    server: LiveServer, owner: Caller, api: Client, over: str
) -> None:
    async with connected(server.port, owner.secret, over=over) as (editor, agent):
        editor.decision = None
        session = await agent.new_session(cwd="/work", model="demo:tour")
        prompting = asyncio.create_task(agent.prompt(session_id=session.session_id, prompt=text("approve")))
        async with api.events(session.session_id, since=0) as reader:
            await reader.next_of("approval_required")
        await agent.cancel(session_id=session.session_id)
        assert (await prompting).stop_reason == "cancelled"


async def test_a_run_that_fails_is_an_error_with_its_code(server: LiveServer, owner: Caller) -> None:
    async with connected(server.port, owner.secret) as (_, agent):
        session = await agent.new_session(cwd="/work", model="demo:tour")
        with pytest.raises(RequestError) as failed:
            await agent.prompt(session_id=session.session_id, prompt=text("fail"))
        assert (failed.value.data or {})["error"]


async def test_another_tenants_session_is_like_an_unknown_one(
    server: LiveServer, owner: Caller, stranger: Caller, api: Client
) -> None:
    session = await api.session(model="demo:echo")
    async with connected(server.port, stranger.secret) as (_, agent):
        for name in (session, "ses_nobodys"):
            for call in (agent.load_session, agent.prompt):
                rest: dict[str, Any] = {"cwd": "/"} if call == agent.load_session else {"prompt": text("x")}
                with pytest.raises(RequestError) as refused:
                    await call(session_id=name, **rest)
                assert (refused.value.code, (refused.value.data or {})["error"]) == (-32002, "session_not_found")


@pytest.mark.parametrize("fields", [{"prompt": []}, {"prompt": text(" ")}])
async def test_a_prompt_without_text_is_refused(server: LiveServer, owner: Caller, fields: dict[str, Any]) -> None:
    async with connected(server.port, owner.secret) as (_, agent):
        session = await agent.new_session(cwd="/work", model="demo:echo")
        with pytest.raises(RequestError) as refused:
            await agent.prompt(session_id=session.session_id, **fields)
        assert refused.value.code == -32602


def http(server: LiveServer, caller: Caller) -> httpx.AsyncClient:
    address = f"http://127.0.0.1:{server.port}"
    return httpx.AsyncClient(base_url=address, headers=caller.headers, timeout=WAIT, trust_env=False)


async def test_a_connection_is_its_openers_alone(server: LiveServer, owner: Caller, stranger: Caller) -> None:
    async with http(server, owner) as mine, http(server, stranger) as theirs:
        opened = await mine.post("/acp", json=INITIALIZE)
        name = {"Acp-Connection-Id": opened.headers["acp-connection-id"]}
        unknown = {"Acp-Connection-Id": "0" * 32}
        message = {"jsonrpc": "2.0", "id": 1, "method": "session/new", "params": {"cwd": "/", "mcpServers": []}}
        accept = {"Accept": "text/event-stream"}
        for headers in (name, unknown):
            assert (await theirs.post("/acp", json=message, headers=headers)).status_code == 404
            assert (await theirs.get("/acp", headers={**headers, **accept})).status_code == 404
            assert (await theirs.delete("/acp", headers=headers)).status_code == 404
        assert (await mine.post("/acp", json=message, headers=name)).status_code == 202
        assert (await mine.delete("/acp", headers=name)).status_code == 202
        assert (await mine.post("/acp", json=message, headers=name)).status_code == 404


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'"text"', b"5"])
async def test_what_is_no_message_is_refused(server: LiveServer, owner: Caller, body: bytes) -> None:
    async with http(server, owner) as client:
        answer = await client.post("/acp", content=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, answer.json()["error"]) == (400, "bad_request")


async def test_a_key_is_needed(server: LiveServer) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False) as nobody:
        assert (await nobody.post("/acp", json=INITIALIZE)).status_code == 401
    with pytest.raises(InvalidStatus) as refused:
        await connect(f"ws://127.0.0.1:{server.port}/acp", proxy=None)
    assert refused.value.response.status_code == 401


async def test_connections_end_unused_and_with_their_key(
    server: LiveServer, owner: Caller, gateway: GatewayHarness, settings: Any
) -> None:
    settings.GATEWAY_KEY_CACHE_SECONDS = 0.0
    async with http(server, owner) as client:
        opened = [await client.post("/acp", json=INITIALIZE) for _ in range(2)]
        endpoint = CONNECTIONS._endpoint
        assert endpoint is not None
        assert len(endpoint._owned) == 2
        await CONNECTIONS.sweep()
        assert len(endpoint._owned) == 2
        settings.GATEWAY_CONNECTION_TIMEOUT = 0.0
        await CONNECTIONS.sweep()
        assert endpoint._owned == {}
        settings.GATEWAY_CONNECTION_TIMEOUT = 300.0
        opened.append(await client.post("/acp", json=INITIALIZE))
        await run(_revoke, owner)
        await CONNECTIONS.sweep()
        assert endpoint._owned == {}
        assert endpoint._server.registry._connections == {}


def _revoke(caller: Caller) -> None:
    ApiKey.objects.filter(pk=caller.principal.key_id or 0).update(revoked_at=clock.now())
