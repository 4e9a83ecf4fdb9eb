"""Every error code and every close code of the protocol over a real socket."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
from django.conf import settings as configured
from websockets.exceptions import ConnectionClosed

from core_app import database
from core_app.errors import Unavailable
from edge_app.rpc import Method
from faces.agentbus import connection
from faces.agentbus.clients import CLIENTS
from faces.agentbus.close_codes import AgentbusClose
from faces.agentbus.errors import CODES
from faces.agentbus.methods import METHODS
from tenants_app.models import Tenant
from tests.conftest import Caller
from tests.conftest import caller as caller_of
from tests.faces.agentbus.bus_client import BusClient, bus, signed_in
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import Client, GatewayHarness, eventually

pytestmark = pytest.mark.django_db(transaction=True)

TEXT = (configured.BASE_DIR / "docs" / "protocol-agentbus.md").read_text(encoding="utf-8")
PIECE = "x" * 60_000


def codes_of(section: str) -> set[int]:
    """Returns the codes in the first column of a section's table."""
    start = TEXT.index(f"\n## {section}\n")
    table = TEXT[start : TEXT.index("\n## ", start + 4)]
    return {int(code) for code in re.findall(r"^\| (\d{4}) \|", table, re.MULTILINE)}


async def refuse_malformed(client: BusClient) -> None:
    await client.send_raw("{")


async def refuse_unsigned(client: BusClient) -> None:
    """The client has not signed in."""
    await client.send("heartbeat")


async def refuse_scope(client: BusClient) -> None:
    await client.send("devices.list")


async def refuse_unknown(client: BusClient) -> None:
    await client.send("no.such.method")


async def refuse_conflict(client: BusClient) -> None:
    await client.call("chat.send", session_id="s", message="ask", model="demo:tour")
    await client.send("chat.send", {"session_id": "s", "message": "again"})


async def refuse_crowd(client: BusClient) -> None:
    for _ in range(65):
        await client.send("patched")


async def call_patched(client: BusClient) -> None:
    await client.send("patched")


async def wait_for_ever(caller: Any, params: Any) -> None:
    await asyncio.Event().wait()


async def fail(caller: Any, params: Any) -> None:
    raise ZeroDivisionError("secret text of a bug")


async def be_away(caller: Any, params: Any) -> None:
    raise Unavailable("The database does not answer.", retry_after=3)


Cause = Callable[[BusClient], Awaitable[None]]
ERRORS: dict[int, tuple[Cause, Method[Any] | None]] = {
    4000: (refuse_malformed, None),
    4001: (refuse_unsigned, None),
    4003: (refuse_scope, None),
    4004: (refuse_unknown, None),
    4008: (call_patched, Method.on_loop(dict, wait_for_ever, seconds=0.0)),
    4009: (refuse_conflict, None),
    4029: (refuse_crowd, Method.on_loop(dict, wait_for_ever)),
    5000: (call_patched, Method.on_loop(dict, fail)),
    5003: (call_patched, Method.on_loop(dict, be_away)),
}


def test_every_code_has_its_row() -> None:
    assert codes_of("Errors") == set(ERRORS) == set(CODES._codes.values())
    assert codes_of("Close codes") == set(CLOSES)
    assert {int(code) for code in AgentbusClose} <= set(CLOSES)


@pytest.mark.parametrize("code", ERRORS)
async def test_an_error_has_its_code(
    server: LiveServer, tenant: Tenant, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    cause, method = ERRORS[code]
    if method is not None:
        monkeypatch.setitem(METHODS, "patched", method)
    plain = await database.run(caller_of, tenant, ["sessions"])
    async with bus(server.port) as client:
        if code != 4001:
            assert (await client.sign_in(auth_token=plain.secret))["ok"]
        await cause(client)
        response = await client.response()
        assert set(response) == {"type", "id", "ok", "payload", "error", "timestamp"}
        assert set(response["error"]) == {"code", "message", "details"}
        assert response["error"]["code"] == code
        if code == 5000:
            assert response["error"]["details"]["errorId"].startswith("err_")
            assert "secret" not in str(response)
        if code == 5003:
            assert response["error"]["details"]["retry_after"] == 3
        if code != 4029:
            # The connection goes on.
            assert (await client.request("heartbeat"))["ok"] == (code != 4001)


class Closing:
    """A server, its owner, and what a cause of closes may change."""

    def __init__(self, server: LiveServer, owner: Caller, gateway: GatewayHarness, settings: Any, patch: Any) -> None:
        self.server, self.owner, self.gateway, self.settings, self.patch = server, owner, gateway, settings, patch


async def leave(scene: Closing, client: BusClient) -> None:
    await client.call("disconnect")


async def send_too_much(scene: Closing, client: BusClient) -> None:
    with suppress(ConnectionClosed):  # it may come before the last of it is sent
        await client.send_raw("x" * (26 * 1024 * 1024))


async def restart(scene: Closing, client: BusClient) -> None:
    await scene.gateway.drain()


async def read_slowly(scene: Closing, client: BusClient) -> None:
    await flood(scene.server, scene.owner, client)


async def be_one_too_many(scene: Closing, client: BusClient) -> None:
    """The connection that comes when all places are taken is closed."""
    scene.settings.GATEWAY_MAX_CONNECTIONS = 1


async def break_down(scene: Closing, client: BusClient) -> None:
    async def fail(*_: Any) -> None:
        raise ZeroDivisionError("a bug in the reader")

    scene.patch.setattr(connection, "parse_off_loop", fail)
    await client.send("heartbeat")


async def lose_key(scene: Closing, client: BusClient) -> None:
    token = client.frames[-1]["payload"]["auth_info"]["session_id"]
    await client.send("auth.revoke", {"session_id": token})


async def wait_too_long(scene: Closing, client: BusClient) -> None:
    """The connection does not sign in."""
    scene.patch.setattr(connection, "HANDSHAKE_SECONDS", 0.01)


async def be_silent(scene: Closing, client: BusClient) -> None:
    """The connection sends nothing."""
    scene.settings.GATEWAY_RPC_HEARTBEAT_SECONDS = scene.settings.GATEWAY_CONNECTION_TIMEOUT = 0.05


CLOSES: dict[int, Callable[[Closing, BusClient], Awaitable[None]]] = {
    1000: leave,
    1009: send_too_much,
    4000: restart,
    4001: read_slowly,
    4002: be_one_too_many,
    4003: break_down,
    4401: lose_key,
    4408: wait_too_long,
    4409: be_silent,
}
OF_A_NEW_ONE = {4002, 4408, 4409}
"""Closes of a connection that opens when the cause is there."""


@pytest.mark.parametrize("code", CLOSES)
async def test_a_close_has_its_code(
    server: LiveServer,
    owner: Caller,
    gateway: GatewayHarness,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
) -> None:
    scene = Closing(server, owner, gateway, settings, monkeypatch)
    async with slow_bus(server) as client:
        assert (await client.sign_in(auth_token=owner.secret, capabilities=["slow"]))["ok"]
        await CLOSES[code](scene, client)
        if code not in OF_A_NEW_ONE:
            assert await client.close_code() == code
            return
        async with bus(server.port) as another:
            if code == 4409:
                assert (await another.sign_in(auth_token=owner.secret))["ok"]
            assert await another.close_code() == code


def slow_bus(server: LiveServer) -> Any:
    """Connects a client whose system takes little ahead of it, and which reads a frame only when asked to."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", server.port))
    return bus(server.port, sock=narrow, max_queue=1)


async def flood(server: LiveServer, owner: Caller, client: BusClient) -> None:
    """Sends broadcasts that only `client` gets, which does not read, until the gateway has given it up."""
    (slow,) = [one for one in CLIENTS._open if "slow" in getattr(one, "capabilities", ())]
    async with signed_in(server.port, owner.secret, client_id="flooding") as other:
        for _ in range(400):
            await other.call("events.broadcast", event="flood", payload={"x": PIECE}, capability="slow")
            if slow._ended:  # type: ignore[attr-defined]
                break
        else:
            raise AssertionError("the client is still served")


async def test_a_slow_reader_loses_nothing_after_it_resumes(server: LiveServer, owner: Caller, api: Client) -> None:
    await api.post("/v1/sessions", {"sessionId": "s", "model": "demo:tour"})
    async with slow_bus(server) as client:
        response = await client.sign_in(auth_token=owner.secret, capabilities=["slow"])
        token = response["payload"]["auth_info"]["session_id"]
        await client.call("events.follow", session_id="s", since=0)
        await api.run("s", "long 200")
        await flood(server, owner, client)
        await api.run("s", "long 50")
        assert await client.close_code() == 4001
    seen = positions(client)
    log = [frame.id for frame in await api.log("s")]
    assert seen == log[: len(seen)]
    assert len(seen) < len(log)
    async with bus(server.port) as again:
        assert (await again.sign_in(session_token=token, last_seq={"s": seen[-1] if seen else 0}))["ok"]
        while len(positions(again)) < len(log) - len(seen):
            await again.event("session.event")
    assert seen + positions(again) == log


def positions(client: BusClient) -> list[Any]:
    return [frame["payload"]["id"] for frame in client.frames if frame.get("event") == "session.event"]


async def test_closed_connections_are_counted_no_more(server: LiveServer, owner: Caller) -> None:
    async with signed_in(server.port, owner.secret), bus(server.port):
        assert CLIENTS.open >= 1
    await eventually(lambda: CLIENTS.open == 0)
