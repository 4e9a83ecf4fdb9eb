"""One session with 1,000 followers, as fast as one core allows; the figure counts deliveries at the clients.

The session emits more than a core can deliver; the reference sends every follower frames of the same size.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp

from tests.benchmarks.figures import Figure
from tests.benchmarks.latency import wait_ends
from tests.benchmarks.readers import close, read
from tests.benchmarks.serving import STAMPED, deployment, reference, running_server
from tests.stack.client import Client

FOLLOWERS = 1000
WORDS = 400
PAUSE_MS = 4
"""250 words a second, so 250,000 deliveries a second."""


async def measure() -> AsyncIterator[Figure]:
    with deployment() as state:
        assert state is not None
        async with running_server(state, STAMPED) as server, aiohttp.ClientSession() as http:
            rate = await through_the_gateway(server.url, Client(http, server.url))
    async with reference("bare_sse") as bare:
        beside = await through_bare(bare.url)
    yield Figure(
        "fan-out of one session to 1,000 followers",
        rate,
        "deliveries/s",
        beside,
        "bare ASGI broadcast",
        40_000,
        "higher",
    )


async def through_the_gateway(url: str, client: Client) -> float:
    await client.create("first")
    await client.post("/v1/sessions/first/prompt?wait=20", {"text": "count 1"}, expect=200)
    await client.create("s", providerOpts={"delayMs": PAUSE_MS})
    readers = await read(url, ["/v1/sessions/s/events"] * FOLLOWERS, keep=False)
    began = time.perf_counter()
    await client.prompt("s", f"count {WORDS}")
    await wait_ends(readers)
    seconds = time.perf_counter() - began
    delivered = sum(reader.events for reader in readers)
    close(readers)
    assert delivered >= FOLLOWERS * WORDS
    return delivered / seconds


async def through_bare(url: str) -> float:
    gathering = asyncio.create_task(
        read(url, [f"/broadcast?followers={FOLLOWERS}&count={WORDS}"] * FOLLOWERS, keep=False)
    )
    readers = await gathering
    began = time.perf_counter()
    await wait_ends(readers)
    seconds = time.perf_counter() - began
    close(readers)
    return FOLLOWERS * WORDS / seconds
