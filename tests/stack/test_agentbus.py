"""The Agentbus socket over two processes: a client on one, its run on the other, and presence and broadcasts across."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from tests.faces.agentbus.bus_client import BusClient, bus
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
