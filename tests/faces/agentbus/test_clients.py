"""Clients of one tenant: presence, broadcasts, disconnecting others, and the limits of connections and requests."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack
from typing import Any

import pytest

from core_app import database, database_threads
from core_app.shares import Claim
from edge_app.sockets.outbox import MAX_SIGNAL_BYTES, Outbox, OutboxFull
from faces.agentbus import clients
from faces.agentbus.clients import CLIENTS
from faces.agentbus.methods import METHODS
from tests.conftest import Caller
from tests.conftest import caller as caller_of
from tests.faces.agentbus.bus_client import bus, signed_in
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import GatewayHarness, eventually

pytestmark = pytest.mark.django_db(transaction=True)


async def test_clients_see_each_other_come_and_go(server: LiveServer, owner: Caller, stranger: Caller) -> None:
    async with (
        signed_in(server.port, owner.secret, client_id="one") as one,
        signed_in(server.port, stranger.secret, client_id="foreign") as foreign,
    ):
        async with signed_in(server.port, owner.secret, client_id="two", capabilities=["chat"]):
            assert await one.event("presence.update") == {"client_id": "two", "status": "online"}
            clients = (await one.call("presence.list"))["clients"]
            assert [client["client_id"] for client in clients] == ["one", "two"]
            assert clients[1]["capabilities"] == ["chat"]
            assert [client["client_id"] for client in (await foreign.call("presence.list"))["clients"]] == ["foreign"]
        assert await one.event("presence.update") == {"client_id": "two", "status": "offline"}
        assert [client["client_id"] for client in (await one.call("presence.list"))["clients"]] == ["one"]


async def test_a_broadcast_reaches_the_tenants_clients(server: LiveServer, owner: Caller, stranger: Caller) -> None:
    async with (
        signed_in(server.port, owner.secret, client_id="one", capabilities=["paint"]) as one,
        signed_in(server.port, owner.secret, client_id="two") as two,
        signed_in(server.port, stranger.secret, client_id="foreign") as foreign,
    ):
        assert await two.call("events.broadcast", event="build.done", payload={"ok": True}) == {"status": "sent"}
        assert await one.event("build.done") == {"ok": True}
        assert await two.event("build.done") == {"ok": True}
        await two.call("events.broadcast", event="paint.now", payload={}, capability="paint")
        await two.call("events.broadcast", event="end", payload={})
        await foreign.call("events.broadcast", event="foreign.end", payload={})
        await one.event("paint.now")
        await two.event("end")
        assert not [frame for frame in two.frames if frame.get("event") == "paint.now"]
        await foreign.event("foreign.end")
        assert not [frame for frame in foreign.frames if frame.get("event") in ("build.done", "end")]
        for name in ("chat.stream", "heartbeat", "bad name", ""):
            assert await two.refused("events.broadcast", event=name) == 4000


async def test_an_administrator_disconnects_a_client(server: LiveServer, owner: Caller, tenant: Any) -> None:
    plain = await database.run(caller_of, tenant, ["sessions"])
    async with (
        signed_in(server.port, owner.secret, client_id="one") as one,
        signed_in(server.port, plain.secret, client_id="two") as two,
    ):
        assert await two.refused("disconnect", client_id="one") == 4003
        assert await one.call("disconnect", client_id="two") == {"status": "disconnected"}
        assert "reason" in await two.event("disconnect")
        assert await two.close_code() == 1000
        assert await one.call("disconnect") == {"status": "disconnected"}
        assert await one.close_code() == 1000


async def test_the_65th_request_in_flight_is_refused(
    server: LiveServer, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = asyncio.Event()

    async def wait(caller: Any, wanted: Any) -> dict[str, Any]:
        await gate.wait()
        return {}

    held = type(METHODS["heartbeat"]).on_loop(lambda params: params, wait)
    monkeypatch.setitem(METHODS, "heartbeat", held)
    async with signed_in(server.port, owner.secret) as client:
        names = [await client.send("heartbeat") for _ in range(65)]
        refused = await client.response()
        assert (refused["id"], refused["error"]["code"]) == (names[64], 4029)
        gate.set()
        assert {(await client.response())["id"] for _ in range(64)} == set(names[:64])


async def test_a_processs_connections_are_limited(
    server: LiveServer, owner: Caller, stranger: Caller, settings: Any
) -> None:
    settings.GATEWAY_MAX_CONNECTIONS = 2
    async with signed_in(server.port, owner.secret), signed_in(server.port, stranger.secret), bus(server.port) as third:
        assert await third.close_code() == 4002
    await eventually(lambda: CLIENTS.open == 0)


async def test_a_tenants_connections_are_limited(server: LiveServer, owner: Caller, settings: Any) -> None:
    async with signed_in(server.port, owner.secret), bus(server.port) as second:
        settings.GATEWAY_MAX_CONNECTIONS = 1
        assert (await second.sign_in(auth_token=owner.secret))["error"]["code"] == 4029
        assert await second.close_code() == 4002


async def test_a_large_message_needs_an_administrator(server: LiveServer, owner: Caller, tenant: Any) -> None:
    plain = await database.run(caller_of, tenant, ["sessions"])
    frame = json.dumps({"type": "event", "event": "heartbeat", "payload": {"x": "y" * (1024 * 1024)}})
    async with signed_in(server.port, owner.secret) as client:
        await client.send_raw(frame)
        assert (await client.call("heartbeat"))["status"] == "ok"
    async with signed_in(server.port, plain.secret) as client:
        await client.send_raw(frame)
        assert await client.close_code() == 1009


async def test_a_stop_tells_every_client(server: LiveServer, owner: Caller, gateway: GatewayHarness) -> None:
    async with signed_in(server.port, owner.secret) as client, bus(server.port) as other:
        await other.event("connect.challenge")
        await gateway.drain()
        assert "reconnect_after" in await client.event("shutdown")
        assert await client.close_code() == 4000
        assert await other.close_code() == 4000


async def test_a_silent_connection_is_closed(server: LiveServer, owner: Caller, settings: Any) -> None:
    settings.GATEWAY_RPC_HEARTBEAT_SECONDS = settings.GATEWAY_CONNECTION_TIMEOUT = 0.05
    async with signed_in(server.port, owner.secret) as client:
        assert await client.close_code() == 4409


async def test_heartbeats_come_by_themselves(server: LiveServer, owner: Caller, settings: Any) -> None:
    settings.GATEWAY_RPC_HEARTBEAT_SECONDS = 0.02
    async with signed_in(server.port, owner.secret) as client:
        beat = await client.event("heartbeat")
        assert set(beat) == {"timestamp", "uptime"}


async def test_strangers_keep_no_client_out(
    server: LiveServer, owner: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "SPARED_SECONDS", 0.0)
    settings.GATEWAY_MAX_CONNECTIONS = 3
    async with (
        signed_in(server.port, owner.secret) as client,
        bus(server.port) as oldest,
        bus(server.port) as youngest,
    ):
        youngest.nonce = (await youngest.event("connect.challenge"))["nonce"]
        async with signed_in(server.port, owner.secret) as newcomer:
            assert await oldest.close_code() == 4002
            await newcomer.call("heartbeat")
        await client.call("heartbeat")
        assert (await youngest.sign_in(auth_token=owner.secret))["ok"]
    await eventually(lambda: CLIENTS.open == 0)


async def test_one_address_has_few_sockets_that_have_not_signed_in(
    server: LiveServer, owner: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "SPARED_SECONDS", 0.0)
    settings.GATEWAY_MAX_IDLE_PER_ADDRESS = 2
    async with AsyncExitStack() as stack:
        signed = [await stack.enter_async_context(signed_in(server.port, owner.secret)) for _ in range(3)]
        waiting = [await stack.enter_async_context(bus(server.port)) for _ in range(3)]
        assert await waiting[0].close_code() == 4002
        for client in signed:
            await client.call("heartbeat")
        for client in waiting[1:]:
            assert (await client.sign_in(auth_token=owner.secret))["ok"]


async def test_sockets_that_come_at_once_are_spared(
    server: LiveServer, owner: Caller, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "SPARED_SECONDS", 3600.0)
    settings.GATEWAY_MAX_IDLE_PER_ADDRESS = 1
    async with bus(server.port) as one, bus(server.port) as two:
        await two.event("connect.challenge")
        assert (await one.sign_in(auth_token=owner.secret))["ok"]


async def test_a_large_message_needs_a_connect(server: LiveServer, owner: Caller) -> None:
    frame = json.dumps({"type": "event", "event": "heartbeat", "payload": {"x": "y" * (64 * 1024)}})
    async with bus(server.port) as client:
        await client.send_raw(frame)
        assert await client.close_code() == 1009
    plain_frame = json.dumps({"type": "req", "id": "r", "method": "heartbeat", "params": {"x": "y" * (64 * 1024)}})
    async with signed_in(server.port, owner.secret) as client:
        await client.send_raw(plain_frame)
        assert (await client.response())["ok"]


async def test_a_client_that_reads_no_broadcasts_is_disconnected_before_they_take_much_memory() -> None:
    failures: list[Exception] = []
    never = asyncio.Event()

    async def stalled(message: Any) -> None:
        await never.wait()

    outbox = Outbox(stalled, failures.append)
    put = 0
    while not failures:
        outbox.put_signal("x" * 64 * 1024)
        put += 1
        await asyncio.sleep(0)
    assert isinstance(failures[0], OutboxFull)
    assert put <= MAX_SIGNAL_BYTES // (64 * 1024) + 1


async def test_a_client_that_reads_gets_any_number_of_broadcasts() -> None:
    failures: list[Exception] = []
    sent: list[Any] = []

    async def taken(message: Any) -> None:
        await asyncio.sleep(0)
        sent.append(message["text"])

    outbox = Outbox(taken, failures.append)
    # The outbox is never empty: the next frame is there before the last one is taken.
    for _ in range(100):
        outbox.put_signal("x" * 64 * 1024)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    await outbox.flush()
    assert (len(sent), failures) == (100, [])


@pytest.mark.parametrize("method", ["chat.send", "events.follow", "events.unfollow", "system.status", "auth.revoke"])
async def test_requests_take_threads_of_their_tenants_share(
    server: LiveServer, owner: Caller, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    claims: list[int | None] = []
    run = database_threads.ACTIONS.run

    async def recorded(claim: Claim, *args: Any, **kwargs: Any) -> Any:
        claims.append(claim.tenant_id)
        return await run(claim, *args, **kwargs)

    async with signed_in(server.port, owner.secret) as client:
        await client.call("chat.sessions.create", session_id="mine", model="demo:echo")
        monkeypatch.setattr(database_threads.ACTIONS, "run", recorded)
        await client.request(method, session_id="mine", message="hello")
    assert claims == [owner.principal.tenant_id]


async def test_frames_that_are_sent_at_once_overtake_none_that_wait() -> None:
    failures: list[Exception] = []
    sent: list[str] = []
    takes = True

    async def send(message: Any) -> None:
        await asyncio.sleep(0)
        sent.append(message["text"])

    def send_now(text: str) -> bool:
        if takes:
            sent.append(text)
        return takes

    outbox = Outbox(send, failures.append, send_now=send_now)
    outbox.put_reply("1")
    outbox.put_signal("2")
    assert sent == ["1", "2"]
    takes = False
    outbox.put_events(["3", "4"])
    takes = True
    outbox.put_reply("5")
    outbox.put_signal("6")
    assert sent == ["1", "2"]
    await outbox.flush()
    outbox.put_events(["7"])
    assert (sent, failures) == (["1", "2", "3", "4", "5", "6", "7"], [])
    assert not outbox.crowded
