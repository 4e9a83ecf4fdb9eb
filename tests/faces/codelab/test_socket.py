"""The IDE's socket: who gets in, messages and their answers, replay, and tool calls of a turn."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from websockets.exceptions import InvalidStatus

from core_app import database
from tenants_app.models import Tenant
from tenants_app.services.tenant import tenant_update
from tests.conftest import Caller, caller
from tests.faces.codelab.ide import ide
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)

SENT: dict[str, dict[str, Any]] = {
    "user_message": {"content": "hello"},
    "tool_result": {"call_id": "call_0", "result": "forged"},
    "hitl_decision": {"call_id": "call_0", "decision": "approve"},
    "switch_agent": {"agent_type": "nobody", "content": "x"},
    "abort": {},
}
"""Every message of a client, in a form that is taken."""


async def test_a_message_is_answered_token_by_token(server: LiveServer, owner: Caller, api: Client) -> None:
    await api.session(sessionId="ide-1", model="demo:echo")
    async with ide(server.port, "ide-1", owner.secret) as client:
        await client.send("user_message", content="one two three", role="user", message_id="m1")
        assert await client.frame("ack") == {"type": "ack", "status": "received", "message_id": "m1"}
        assert "".join(await client.answer()) == "one two three"
        offsets = [frame["offset"] for frame in client.frames if frame["type"] == "assistant_message"]
        assert offsets == sorted(set(offsets))


async def test_both_paths_and_every_place_of_a_key_are_taken(server: LiveServer, owner: Caller) -> None:
    async with ide(server.port, "a", owner.secret, path="/api/v1/ws/") as client:
        await client.send("abort", message_id=7)
        assert await client.frame() == {"type": "ack", "status": "received", "message_id": 7}
    async with ide(server.port, "a", token=owner.secret) as client:
        await client.send("user_message", content="hi", message_id=8)
        assert (await client.frame("ack"))["message_id"] == 8
    async with ide(server.port, "a", headers={"Authorization": f"Bearer {owner.secret}"}) as client:
        await client.send("nothing")
        assert (await client.frame("error"))["code"] == "INVALID_FORMAT"


@pytest.mark.parametrize(("chosen", "agent"), [({}, "remote"), ({"default_model": "demo:echo"}, None)])
async def test_one_runtime_serves_the_sessions_of_tenants_without_a_default(
    server: LiveServer, owner: Caller, api: Client, settings: Any, tenant: Tenant, chosen: Any, agent: str | None
) -> None:
    settings.GATEWAY_AGENT_URL = "http://127.0.0.1:9"
    await sync_to_async(tenant_update)(tenant=tenant, settings=chosen)
    async with ide(server.port, "fresh", owner.secret) as client:
        await client.send("abort", message_id=1)
        await client.frame()
    assert (await api.get("/v1/sessions/fresh")).json["agent"] == agent


@pytest.mark.parametrize("query", [{}, {"token": "agw_wrong"}, {"token": "nonsense"}, {"api_key": "agw_wrong"}])
async def test_without_a_good_credential_the_upgrade_is_refused(server: LiveServer, query: Any) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with ide(server.port, "a", **query):
            pass
    assert refused.value.response.status_code == 401


async def test_a_stranger_gets_a_session_of_its_own(
    server: LiveServer, owner: Caller, stranger: Caller, api: Client, gateway: GatewayHarness
) -> None:
    async with ide(server.port, "same", owner.secret) as mine, ide(server.port, "same", stranger.secret) as theirs:
        await mine.send("user_message", content="a secret word")
        await mine.answer()
        await theirs.send("user_message", content="something else")
        assert "secret" not in "".join(await theirs.answer())
        assert all("secret" not in str(frame) for frame in theirs.frames)
    messages = (await gateway.client(stranger).get("/v1/sessions/same/messages")).json["messages"]
    assert [message["content"] for message in messages if message["role"] == "user"] == ["something else"]


async def test_a_stream_token_only_reads(server: LiveServer, owner: Caller, api: Client) -> None:
    session = await api.session()
    token = (await api.post(f"/v1/sessions/{session}/stream-token")).json["token"]
    async with ide(server.port, session, token=token) as reader, ide(server.port, session, owner.secret) as writer:
        await reader.send("user_message", content="hello")
        assert (await reader.frame("error"))["code"] == "FORBIDDEN"
        await writer.send("user_message", content="hello")
        assert await reader.answer() == await writer.answer()


async def test_a_stream_token_opens_its_own_session_alone(
    server: LiveServer, owner: Caller, stranger: Caller, api: Client, gateway: GatewayHarness
) -> None:
    mine, other = await api.session(), await api.session()
    theirs = await gateway.client(stranger).session(sessionId=mine)
    same_name = (await gateway.client(stranger).post(f"/v1/sessions/{theirs}/stream-token")).json["token"]
    of_other = (await api.post(f"/v1/sessions/{other}/stream-token")).json["token"]
    await api.run(mine, "a secret word")
    for session in (mine, "nothing"):
        with pytest.raises(InvalidStatus) as refused:
            async with ide(server.port, session, token=of_other):
                pass
        assert refused.value.response.status_code == 401
    async with ide(server.port, mine, token=same_name, since=0) as client:
        await gateway.client(stranger).run(theirs, "something else")
        assert "secret" not in "".join(await client.answer())


@pytest.mark.parametrize("scopes", [["sessions:read"], ["sessions:read", "approvals", "questions"]])
async def test_a_key_that_may_not_write_only_reads(
    server: LiveServer, owner: Caller, api: Client, tenant: Tenant, scopes: list[str]
) -> None:
    session = await api.session(model="demo:tour")
    viewer = await database.run(caller, tenant, scopes)
    async with ide(server.port, session, viewer.secret) as reader, ide(server.port, session, owner.secret) as writer:
        await writer.send("user_message", content="approve")
        call_id = (await writer.frame("tool_call"))["call_id"]
        for kind, fields in SENT.items():
            named = {"call_id": call_id} if "call_id" in fields else {}
            await reader.send(kind, **{**fields, **named})
            refused = await reader.frame("error", "ack")
            assert refused.get("code") == "FORBIDDEN" or refused["status"] == "error", kind
        assert "tool_call" not in [frame["type"] for frame in reader.frames]
        # Nothing of it was done: the call still waits, for the one that may decide it.
        await writer.send("hitl_decision", call_id=call_id, decision="approve", message_id=1)
        assert await writer.frame("ack") == {"type": "ack", "status": "received", "message_id": 1}
        await writer.answer()
    runs = (await api.get(f"/v1/sessions/{session}/runs")).json["runs"]
    assert len(runs) == 1


async def test_a_reader_creates_no_session(server: LiveServer, tenant: Tenant, api: Client) -> None:
    viewer = await database.run(caller, tenant, ["sessions:read"])
    async with ide(server.port, "fresh", viewer.secret) as client:
        assert (await client.frame())["code"] == "INVALID_SESSION"
    assert (await api.get("/v1/sessions/fresh")).status == 404


@pytest.mark.parametrize("session", ["has.dot", "x" * 65])
async def test_an_id_of_another_form_is_an_error_frame(server: LiveServer, owner: Caller, session: str) -> None:
    async with ide(server.port, session, owner.secret) as client:
        assert (await client.frame())["code"] == "INVALID_SESSION"
        assert await client.close_code() == 4504


async def test_a_closed_session_is_an_error_frame(server: LiveServer, owner: Caller, api: Client) -> None:
    session = await api.session()
    async with ide(server.port, session, owner.secret) as client:
        await api.delete(f"/v1/sessions/{session}")
        assert await client.close_code() == 4500
    async with ide(server.port, session, owner.secret) as client:
        assert (await client.frame())["code"] == "INVALID_SESSION"


@pytest.mark.parametrize(
    "frame",
    [
        "no json",
        "[]",
        '{"type": 1}',
        '{"type": "user_message"}',
        '{"type": "user_message", "content": 5}',
        '{"type": "user_message", "content": "  "}',
        '{"type": "user_message", "content": "x", "role": "system"}',
        '{"type": "user_message", "content": "x", "message_id": []}',
        '{"type": "hitl_decision", "call_id": "x", "decision": "maybe"}',
        '{"type": "switch_agent", "agent_type": "nobody", "content": "x"}',
    ],
)
async def test_a_bad_frame_is_an_error_and_the_socket_goes_on(server: LiveServer, owner: Caller, frame: str) -> None:
    async with ide(server.port, "bad", owner.secret) as client:
        await client.connection.send(frame)
        assert (await client.frame())["code"] == "INVALID_FORMAT"
        await client.send("user_message", content="hello")
        assert await client.answer()


async def test_a_client_that_comes_back_gets_what_it_missed(server: LiveServer, owner: Caller) -> None:
    async with ide(server.port, "back", owner.secret) as client:
        await client.send("user_message", content="one two three four")
        await client.answer()
        whole = [frame for frame in client.frames if "offset" in frame]
    for seen in (0, 1, len(whole) - 1):
        since = whole[seen - 1]["offset"] if seen else 0
        async with ide(server.port, "back", owner.secret, since=since) as client:
            await client.answer()
            assert client.frames == whole[seen:]


async def test_two_sockets_see_one_conversation(server: LiveServer, owner: Caller) -> None:
    async with ide(server.port, "two", owner.secret) as one, ide(server.port, "two", owner.secret) as other:
        await one.send("user_message", content="hello you two")
        assert await one.answer() == await other.answer()
