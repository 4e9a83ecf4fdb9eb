"""The ends of sockets, each with its close code."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import Any

import pytest
from django.db import connections

from agents_app.events import MessageDelta
from core_app import clock, database
from core_app.database import TransactionLost
from edge_app.sockets.open_sockets import SOCKETS
from events_app import log
from sessions_app.models import AgentSession
from tenants_app.key_cache import KEY_CACHE
from tenants_app.models import ApiKey, Tenant
from tenants_app.principal import SCOPES
from tenants_app.services import api_key_revoke
from tests.conftest import Caller, caller
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import WAIT, Client, GatewayHarness


@pytest.fixture
def short_heartbeats(settings: Any) -> None:
    """Heartbeats every 0.1 s, and keys that are not cached."""
    settings.GATEWAY_HEARTBEAT_SECONDS = 0.1
    settings.GATEWAY_KEY_CACHE_SECONDS = 0.0


def revoke(who: Caller) -> None:
    assert who.principal.key_id is not None
    api_key_revoke(key=ApiKey.objects.get(pk=who.principal.key_id))


def flood(session: str, count: int) -> None:
    """Commits `count` events of 100 KiB each, one by one."""
    stream_id = AgentSession.objects.get(public_id=session).stream_id
    for _ in range(count):
        with database.write_transaction():
            log.lock(stream_id)
            log.append(stream_id, [MessageDelta(message_id="msg", delta="x" * 100_000)])


async def wait_all_closed() -> None:
    """Waits until the server has no open socket."""
    async with asyncio.timeout(WAIT):
        await SOCKETS.wait_closed()


async def test_a_closed_session_is_told_and_then_its_sockets_are_closed(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    async with server.socket(session, owner) as one, server.socket(session, owner) as two:
        await api.delete(f"/v1/sessions/{session}")
        assert [await one.close_code(), await two.close_code()] == [4500, 4500]
    assert [socket.frames[-1]["event"] for socket in (one, two)] == ["session_closed", "session_closed"]


async def test_a_closed_session_is_replayed_from_a_position_and_closed_at_once_without(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    await api.run(session, "hello")
    await api.delete(f"/v1/sessions/{session}")
    logged = [frame.id for frame in await api.log(session)]
    async with server.socket(session, owner, since=0) as replayed:
        assert await replayed.close_code() == 4500
    assert [frame["id"] for frame in replayed.frames] == logged
    async with server.socket(session, owner) as live, server.socket(session, owner, since=logged[-1]) as late:
        assert [await live.close_code(), await late.close_code()] == [4500, 4500]
    assert live.frames == late.frames == []


@pytest.mark.usefixtures("short_heartbeats")
async def test_a_revoked_key_ends_its_idle_socket_within_a_heartbeat(
    api: Client, server: LiveServer, tenant: Tenant
) -> None:
    session = await api.session()
    fired = await database.run(caller, tenant, SCOPES)
    async with server.socket(session, fired) as socket:
        assert (await socket.ask("ping"))["ok"]
        await database.run(revoke, fired)
        assert await socket.close_code() == 4501


async def test_no_event_reaches_the_socket_of_a_key_that_another_process_revoked(
    api: Client, server: LiveServer, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await api.session()
    fired = await database.run(caller, tenant, SCOPES)
    now = time.monotonic()
    monkeypatch.setattr(KEY_CACHE, "clock", lambda: now)
    async with server.socket(session, fired) as socket:
        await api.run(session, "before")
        await socket.event("agent_end")
        row = ApiKey.objects.filter(pk=fired.principal.key_id or 0)
        await database.run(lambda: row.update(revoked_at=clock.now()))
        now += 2.0
        await api.run(session, "after it")
        assert await socket.close_code() == 4501
    assert "after it" not in str(socket.frames)


@pytest.mark.usefixtures("short_heartbeats")
async def test_a_revoked_key_ends_its_socket_on_a_session_that_is_never_silent(
    api: Client, server: LiveServer, tenant: Tenant
) -> None:
    session = await api.session(model="demo:tour", providerOpts={"delayMs": 10})
    request_id = await api.prompt(session, "long 100000")
    fired = await database.run(caller, tenant, SCOPES)
    async with server.socket(session, fired) as socket:
        await socket.event("message_delta")
        await database.run(revoke, fired)
        assert await socket.close_code() == 4501
    await api.post(f"/v1/sessions/{session}/abort")
    await api.follow_run(session, request_id)


async def test_a_revoked_key_acts_no_more(api: Client, server: LiveServer, tenant: Tenant, settings: Any) -> None:
    settings.GATEWAY_KEY_CACHE_SECONDS = 0.0
    session = await api.session()
    fired = await database.run(caller, tenant, SCOPES)
    async with server.socket(session, fired) as socket:
        await database.run(revoke, fired)
        assert (await socket.ask("prompt", text="one more"))["error"] == "unauthorized"
        assert await socket.close_code() == 4501
    assert await api.log(session) == []


async def test_a_draining_gateway_answers_and_tells_its_sockets_to_reconnect(
    api: Client, server: LiveServer, owner: Caller, gateway: GatewayHarness
) -> None:
    session = await api.session()
    async with server.socket(session, owner) as socket:
        request_id = await socket.prompt("before the restart")
        await socket.run_end(request_id)
        seen = socket.frames[-1]["id"]
        await gateway.restart()
        assert await socket.close_code() == 4000
    async with server.socket(session, owner, since=seen) as again:
        await again.run_end(await again.prompt("after it"))
    assert next(frame["id"] for frame in again.frames if "event" in frame) == seen + 1


async def test_a_server_that_is_told_to_end_closes_with_our_code_and_not_with_its_own(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    async with server.socket(session, owner) as socket:
        assert (await socket.ask("ping"))["ok"]
        server.server.handle_exit(signal.SIGTERM, None)
        assert await socket.close_code() == 4000


async def test_a_client_that_falls_behind_and_reads_again_in_time_stays_and_misses_nothing(
    api: Client, server: LiveServer, owner: Caller, settings: Any
) -> None:
    settings.GATEWAY_FOLLOWER_QUEUE_BYTES = 400_000
    settings.GATEWAY_SLOW_FOLLOWER_SECONDS = 600.0
    session = await api.session()
    async with server.socket(session, owner, reads=1) as socket:
        await asyncio.to_thread(_close_connections_after, flood, session, 150)
        assert [(await socket.event())["id"] for _ in range(150)] == list(range(1, 151))


async def test_a_client_that_reads_nothing_holds_nothing_for_ever(
    api: Client, server: LiveServer, owner: Caller, settings: Any
) -> None:
    settings.GATEWAY_SLOW_FOLLOWER_SECONDS = 0.1
    session = await api.session()
    async with server.socket(session, owner, reads=1):
        await asyncio.to_thread(_close_connections_after, flood, session, 150)
        await wait_all_closed()


async def test_an_action_is_done_however_slowly_its_client_reads(
    api: Client, server: LiveServer, owner: Caller
) -> None:
    session = await api.session()
    async with server.socket(session, owner, reads=1) as socket:
        await asyncio.to_thread(_close_connections_after, flood, session, 150)
        await socket.send("prompt", text="in between")
        async with api.events(session, follow="session") as reader:
            await reader.next_of("agent_end")


async def test_past_the_tenants_followers_a_socket_is_told_to_try_later(
    api: Client, server: LiveServer, owner: Caller, stranger: Caller, settings: Any, gateway: GatewayHarness
) -> None:
    settings.GATEWAY_MAX_FOLLOWERS_PER_TENANT = 1
    session = await api.session()
    theirs = await gateway.client(stranger).session()
    async with server.socket(session, owner) as first:
        async with server.socket(session, owner) as second:
            assert await second.close_code() == 4002
        async with server.socket(theirs, stranger) as other:
            assert (await other.ask("ping"))["ok"]
        assert (await first.ask("ping"))["ok"]
    await wait_all_closed()
    async with server.socket(session, owner) as next_one:
        assert (await next_one.ask("ping"))["ok"]


async def test_a_failure_inside_an_action_is_answered_with_an_id_and_the_socket_stays(
    api: Client, server: LiveServer, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**given: Any) -> None:
        raise RuntimeError("a secret of the inside")

    session = await api.session()
    async with server.socket(session, owner) as socket:
        monkeypatch.setattr("faces.native.socket.actions.prompt_accept", fail)
        answer = await socket.ask("prompt", text="x")
        assert answer["error"] == "internal_error"
        assert answer["errorId"].startswith("err_")
        assert "secret" not in answer["message"]
        assert (await socket.ask("ping"))["ok"]


@pytest.mark.parametrize(("failure", "code"), [(TransactionLost("away"), 4000), (RuntimeError("a bug"), 4003)])
async def test_a_socket_whose_events_cannot_be_read_is_told_to_come_back(
    api: Client, server: LiveServer, owner: Caller, monkeypatch: pytest.MonkeyPatch, failure: Exception, code: int
) -> None:
    def fail(*args: Any, **given: Any) -> None:
        raise failure

    session = await api.session()
    with monkeypatch.context() as patch:
        patch.setattr(log, "read_page", fail)
        async with server.socket(session, owner) as socket:
            assert await socket.close_code() == code


def _close_connections_after(work: Any, *args: Any) -> None:
    try:
        work(*args)
    finally:
        connections.close_all()
