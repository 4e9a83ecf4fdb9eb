"""The Agentbus socket over two processes: a client on one, its run on the other, and presence and broadcasts across."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from tests.faces.agentbus.bus_client import BusClient, bus, signed_in
from tests.faces.agentbus.fake_device import FakeDevice
from tests.stack.client import Client, until
from tests.stack.deployment import KEY, Deployment
from tests.stack.process import GatewayProcess

Make = Callable[..., GatewayProcess]


def port_of(process: GatewayProcess) -> int:
    return int(process.url.rsplit(":", 1)[1])


async def enter(client: BusClient, name: str) -> dict[str, Any]:
    response = await client.sign_in(auth_token=KEY, client_id=name)
    assert response["ok"], response
    return dict(response["payload"])


@pytest.mark.timeout(300)
async def test_clients_and_runs_are_on_different_processes(
    deployment: Deployment, process: Make, http: aiohttp.ClientSession
) -> None:
    one, two = process("one"), process("two")
    await asyncio.gather(one.start(), two.start())
    async with bus(port_of(one)) as first, bus(port_of(two)) as second:
        await enter(first, "first")
        await enter(second, "second")
        assert await first.event("presence.update") == {"client_id": "second", "status": "online"}

        async def both_known() -> bool:
            clients = (await second.call("presence.list"))["clients"]
            return [client["client_id"] for client in clients] == ["first", "second"]

        await until(both_known, 20, "each process knows both clients")
        await first.call("events.broadcast", event="hello.all", payload={"n": 1})
        assert await second.event("hello.all") == {"n": 1}
        await Client(http, two.url).create("shared")
        await first.call("events.follow", session_id="shared")
        sent = await second.call("chat.send", session_id="shared", message="count 20")
        while (event := await first.event("session.event"))["event"] != "agent_end":
            assert event["session_id"] == "shared"
        assert event["data"]["requestId"] == sent["run_id"]
        await second.call("disconnect", client_id="first")
        assert await first.close_code() == 1000


@pytest.mark.timeout(300)
async def test_a_client_of_a_killed_process_resumes_on_the_other(
    deployment: Deployment, process: Make, http: aiohttp.ClientSession
) -> None:
    one, two = process("one"), process("two")
    await asyncio.gather(one.start(), two.start())
    client = Client(http, two.url)
    await client.create("s", providerOpts={"delayMs": 20})
    positions: list[int] = []
    async with bus(port_of(one)) as first:
        token = (await enter(first, "first"))["auth_info"]["session_id"]
        await first.call("events.follow", session_id="s")
        await first.call("chat.send", session_id="s", message="long 200")
        while len(positions) < 20:
            positions.append((await first.event("session.event"))["id"])
        one.signal(signal.SIGKILL)
        assert await first.close_code() == 1006
    async with bus(port_of(two)) as second:
        response = await second.sign_in(session_token=token, client_id="first", last_seq={"s": positions[-1]})
        assert response["ok"], response
        last = ""
        while last not in ("agent_end", "agent_abort"):
            event = await second.event("session.event")
            positions.append(event["id"])
            last = event["event"]
        assert last == "agent_end"
        clients = (await second.call("presence.list"))["clients"]
        assert [client["client_id"] for client in clients].count("first") in (1, 2)
    assert positions == [event.id for event in await client.log("s")]


@pytest.mark.timeout(300)
async def test_a_credential_revoked_on_one_process_ends_its_connections_on_the_other(
    deployment: Deployment, process: Make, http: aiohttp.ClientSession
) -> None:
    # No connection would look for itself within the test.
    deployment.settings.update(
        {"AUTH_MODES": "token,device", "KEY_CACHE_SECONDS": "300", "RPC_HEARTBEAT_SECONDS": "300"}
    )
    one, two = process("one"), process("two")
    await asyncio.gather(one.start(), two.start())
    device = FakeDevice("laptop")
    async with signed_in(port_of(one), KEY, client_id="admin") as admin, bus(port_of(two)) as here:
        await admin.call("devices.register", device_id=device.device_id, public_key=device.public_key)
        assert (await device.sign_in(here))["ok"]
        assert (await here.call("heartbeat"))["status"] == "ok"
        async with bus(port_of(two)) as resumed, signed_in(port_of(two), KEY, client_id="kept") as kept:
            token = (await enter(resumed, "resumed"))["auth_info"]["session_id"]
            assert (await resumed.call("heartbeat"))["status"] == "ok"
            await admin.call("devices.revoke", device_id=device.device_id)
            assert await here.close_code() == 4401
            await admin.call("auth.revoke", session_id=token)
            assert await resumed.close_code() == 4401
            assert (await kept.call("heartbeat"))["status"] == "ok"
    async with bus(port_of(two)) as again:
        assert (await device.sign_in(again))["error"]["code"] == 4001


@pytest.mark.timeout(300)
async def test_failures_at_two_processes_lock_their_pair_at_both(
    deployment: Deployment, process: Make, http: aiohttp.ClientSession
) -> None:
    deployment.settings.update({"AUTH_MODES": "token,device"})
    one, two = process("one"), process("two")
    await asyncio.gather(one.start(), two.start())
    device, other = FakeDevice("locked"), FakeDevice("other")
    async with signed_in(port_of(one), KEY, client_id="admin") as admin:
        for known in (device, other):
            await admin.call("devices.register", device_id=known.device_id, public_key=known.public_key)
    for port in (port_of(one), port_of(two), port_of(one), port_of(two), port_of(one)):
        async with bus(port) as client:
            assert (await device.sign_in(client, signature="forged"))["error"]["code"] == 4001
    for port in (port_of(one), port_of(two)):
        async with bus(port) as client:
            assert (await device.sign_in(client))["error"]["code"] == 4029
            assert (await other.sign_in(client))["ok"]


@pytest.mark.timeout(300)
async def test_a_run_is_decided_and_aborted_from_the_other_process(
    deployment: Deployment, process: Make, http: aiohttp.ClientSession
) -> None:
    one, two = process("one"), process("two")
    await asyncio.gather(one.start(), two.start())
    async with signed_in(port_of(one), KEY, client_id="asks") as asks, signed_in(port_of(two), KEY) as decides:
        await asks.call("chat.send", session_id="s", message="approve and ask", model="demo:tour")
        approval, question = await asks.event("chat.approval", "chat.question"), None
        if "ref" in approval:
            approval, question = await asks.event("chat.approval"), approval
        else:
            question = await asks.event("chat.question")
        await decides.call("chat.approve", session_id="s", approval_id=approval["approval_id"])
        await decides.call("chat.respond", session_id="s", ref=question["ref"], response="Yes")
        while not (event := await asks.event("chat.stream"))["done"]:
            pass
        assert "Yes" in event["content"]
        history = await decides.call("chat.history", session_id="s")
        assert history["messages"][-1]["content"] == event["content"]
        sent = await asks.call("chat.send", session_id="s", message="ask")
        await asks.event("chat.question")
        assert (await decides.call("chat.abort", run_id=sent["run_id"]))["status"] == "aborted"
        while (await asks.event("session.update"))["state"] != "aborted":
            pass
        assert [one["session_id"] for one in (await decides.call("sessions.list"))["sessions"]] == ["s"]
        await decides.call("chat.sessions.delete", session_id="s")
        while (await asks.event("session.update"))["state"] != "closed":
            pass
        status = await decides.call("system.status")
        assert (status["sessions"], status["active_runs"], status["connections"]) == (0, 0, 1)
