"""Conversations: sending, streams, history, abort, and a session shared with the native protocol."""

from __future__ import annotations

import time

import pytest

from core_app import clock, database
from tenants_app.key_cache import KEY_CACHE
from tenants_app.models import ApiKey, Tenant
from tenants_app.principal import SCOPES
from tests.conftest import Caller, caller
from tests.faces.agentbus.bus_client import BusClient, signed_in
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client

pytestmark = pytest.mark.django_db(transaction=True)


async def stream_of(client: BusClient) -> tuple[str, str]:
    """Reads `chat.stream` to its end; returns the joined deltas and the whole content."""
    deltas = ""
    while True:
        event = await client.event("chat.stream")
        deltas += event["delta"]
        if event["done"]:
            return deltas, event["content"]
        assert event["content"] == deltas


async def test_a_message_starts_a_run_whose_text_is_streamed(server: LiveServer, owner: Caller, api: Client) -> None:
    async with signed_in(server.port, owner.secret) as client:
        sent = await client.call("chat.send", session_id="bus-1", message="hello there", model="demo:echo")
        assert sent["status"] == "started"
        assert await stream_of(client) == ("hello there", "hello there")
        history = await client.call("chat.history", session_id="bus-1")
        assert history["total"] == 2
        assert [(message["role"], message["content"]) for message in history["messages"]] == [
            ("user", "hello there"),
            ("assistant", "hello there"),
        ]
        assert history["messages"][0]["message_id"] == sent["message_id"]
    run = (await api.get(f"/v1/sessions/bus-1/runs/{sent['run_id']}")).json
    assert run["status"] == "completed"


async def test_a_session_is_followed_natively_too(server: LiveServer, owner: Caller, api: Client) -> None:
    await api.post("/v1/sessions", {"sessionId": "shared", "model": "demo:echo"})
    async with signed_in(server.port, owner.secret) as client:
        assert (await client.call("events.follow", session_id="shared"))["status"] == "following"
        await api.post("/v1/sessions/shared/prompt", {"text": "from elsewhere"})
        seen = []
        while "agent_end" not in seen:
            event = await client.event("session.event")
            assert event["session_id"] == "shared"
            seen.append(event["event"])
            last = event["id"]
        assert "message_delta" in seen
        assert (await client.call("events.unfollow", session_id="shared"))["status"] == "unfollowed"
        assert (await client.call("events.follow", session_id="shared", since=last - 1))["status"] == "following"
        assert (await client.event("session.event"))["id"] == last


async def test_no_event_reaches_the_holder_of_a_key_that_another_process_revoked(
    server: LiveServer, owner: Caller, tenant: Tenant, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    fired = await database.run(caller, tenant, SCOPES)
    now = time.monotonic()
    monkeypatch.setattr(KEY_CACHE, "clock", lambda: now)
    await api.post("/v1/sessions", {"sessionId": "watched", "model": "demo:echo"})
    async with signed_in(server.port, fired.secret) as client:
        await client.call("events.follow", session_id="watched")
        await api.run("watched", "before")
        while (await client.event("session.event"))["event"] != "agent_end":
            pass
        row = ApiKey.objects.filter(pk=fired.principal.key_id or 0)
        await database.run(lambda: row.update(revoked_at=clock.now()))
        now += 2.0
        await api.run("watched", "after it")
        assert await client.close_code() == 4401
    assert "after it" not in str(client.frames)


async def test_the_history_of_an_unknown_session_is_empty(server: LiveServer, owner: Caller) -> None:
    async with signed_in(server.port, owner.secret) as client:
        assert await client.call("chat.history", session_id="none") == {
            "session_id": "none",
            "messages": [],
            "total": 0,
        }
        assert await client.refused("sessions.get", session_id="none") == 4004
        assert await client.refused("chat.abort", run_id="run_none") == 4004


async def test_a_client_resumes_with_its_session_token(server: LiveServer, owner: Caller, api: Client) -> None:
    async with signed_in(server.port, owner.secret) as client:
        response = await client.request("chat.send", session_id="again", message="one", model="demo:echo")
        assert response["ok"]
        await stream_of(client)
    log = await api.log("again")
    async with signed_in(server.port, owner.secret) as first:
        token = first.frames[-1]["payload"]["auth_info"]["session_id"]
    from tests.faces.agentbus.bus_client import bus

    async with bus(server.port) as client:
        response = await client.sign_in(session_token=token, last_seq={"again": log[0].id})
        assert response["ok"], response
        missed = [(await client.event("session.event"))["id"] for _ in log[1:]]
        assert missed == [frame.id for frame in log[1:]]
    async with signed_in(server.port, owner.secret) as client:
        assert (await client.call("auth.revoke", session_id=token))["status"] == "revoked"
    async with bus(server.port) as client:
        assert (await client.sign_in(session_token=token))["error"]["code"] == 4001
