"""Tokens of an agent runtime on the IDE's socket, beside a bare relay from server-sent events to a socket.

The rate is of tokens that come as fast as the runtime writes them; the gateway joins those that wait together, so a
frame may have several. The latency is from the runtime's write to the client's read, of tokens that come one by one.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
from websockets.asyncio.client import ClientConnection, connect

from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.serving import deployment, reference, running_server
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

TOKENS = 20_000
PACED_TOKENS = 1_000
PAUSE_MICROSECONDS = 5_000
PATIENCE = 120.0


@dataclass(frozen=True)
class Measured:
    """Tokens per second without a pause, and the seconds that each pace_acts token took."""

    rate: float
    seconds: list[float]


async def measure() -> AsyncIterator[Figure]:
    async with reference("bare_runtime", core=1) as runtime:
        for distributed in (False, True):
            with deployment(distributed=distributed, AGENT_URL=runtime.url, RATE_LIMIT_RPM="0") as state:
                if state is None:
                    continue
                async with running_server(state) as server:
                    found = await tokens(f"{socket_url(server)}/ws/{await session_create(server)}?token={KEY}")
            async with reference("bare_socket_relay", runtime.url) as bare:
                beside = await tokens(socket_url(bare))
            where = "distributed" if distributed else "embedded"
            name = f"IDE socket, {where}"
            yield Figure(f"{name}: tokens", found.rate, "per s", beside.rate, "bare relay", better="higher")
            for part in (0.5, 0.99):
                mine, bare_ms = (percentile(each.seconds, part) * 1000 for each in (found, beside))
                yield Figure(f"{name}: token, p{part * 100:.0f}", mine, "ms", bare_ms, "bare relay")
                yield Figure(f"{name}: added latency, p{part * 100:.0f}", mine - bare_ms, "ms")


def socket_url(server: GatewayProcess) -> str:
    return server.url.replace("http", "ws")


async def session_create(server: GatewayProcess) -> str:
    """Creates a session of the runtime."""
    async with (
        aiohttp.ClientSession(headers={"X-API-Key": KEY}) as http,
        http.post(f"{server.url}/v1/sessions", json={"agent": "remote"}) as made,
    ):
        made.raise_for_status()
        return str((await made.json())["sessionId"])


async def tokens(address: str) -> Measured:
    """Asks for a warm-up, for the rate and for pace_acts tokens."""
    async with (
        asyncio.timeout(PATIENCE),
        connect(address, compression=None, proxy=None, max_size=None, max_queue=None) as socket,
    ):
        await turn(socket, 200, 0)
        began, received = time.perf_counter(), await turn(socket, TOKENS, 0)
        rate = len(received) / (time.perf_counter() - began)
        return Measured(rate, await turn(socket, PACED_TOKENS, PAUSE_MICROSECONDS))


async def turn(socket: ClientConnection, count: int, pause: int) -> list[float]:
    """Asks for tokens; returns the age of each when it was read. Raises ValueError unless every token came."""
    await socket.send(json.dumps({"type": "user_message", "content": f"{count} {pause}"}))
    ages: list[float] = []
    while True:
        frame = json.loads(await socket.recv())
        moment = time.perf_counter_ns()
        if frame["type"] != "assistant_message":
            continue
        ages += [(moment - int(sent)) / 1e9 for sent in frame["token"].split()]
        if frame["is_final"]:
            break
    if len(ages) != count:
        raise ValueError(f"{len(ages)} of {count} tokens came")
    return ages
