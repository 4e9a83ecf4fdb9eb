"""The latency from the engine to a connected client: one session, and 200 that stream 20 events a second each.

The server has one core, the clients the other. Words are stamped where the model emits them, so the figure includes
the agent loop, the commit, the hub and the socket; the reference stamps, formats and sends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp

from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.readers import Reader, close, read
from tests.benchmarks.serving import STAMPED, deployment, reference, running_server
from tests.stack.client import Client

PATIENCE = 60.0
GATHER_MS = 15_000
"""The time in which all prompts are accepted; then all sessions stream."""

AT_ONCE = 20
ONE = (1, 600, 10)
MANY = (200, 200, 50)
"""Sessions, words of each, and the milliseconds between two words."""


async def measure() -> AsyncIterator[Figure]:
    for shape, title, limits in ((ONE, "one session", (3.0, 15.0)), (MANY, "200 sessions × 20/s", (None, 100.0))):
        with deployment() as state:
            assert state is not None
            async with running_server(state, STAMPED) as server:
                found, lost = await through_the_gateway(server.url, *shape)
        async with reference("bare_sse") as bare:
            beside = await through_bare(bare.url, *shape)
        for share, budget in zip((0.5, 0.99), limits, strict=True):
            yield Figure(
                f"engine to client, {title}, p{share * 100:.0f}",
                percentile(found, share),
                "ms",
                percentile(beside, share),
                "bare ASGI SSE",
                budget,
            )
        if shape is MANY:
            yield Figure(f"events lost of {MANY[0] * MANY[1]:,}", lost, "events", budget=0)


async def through_the_gateway(url: str, sessions: int, count: int, pause: int) -> tuple[list[float], int]:
    names = [f"s-{number}" for number in range(sessions)]
    async with aiohttp.ClientSession() as http:
        client = Client(http, url)
        # The first run loads what every later one finds.
        await client.create("first")
        await client.post("/v1/sessions/first/prompt?wait=20", {"text": "count 1"}, expect=200)
        for name in names:
            await client.create(name, providerOpts={"delayMs": pause})
        readers = await read(url, [f"/v1/sessions/{name}/events" for name in names])
        began = time.monotonic() * 1000
        at = began + (GATHER_MS if sessions > 1 else 0)
        for start in range(0, sessions, AT_ONCE):
            part = names[start : start + AT_ONCE]
            await asyncio.gather(*(client.prompt(name, f"count {count} at {at:.0f}") for name in part))
        assert sessions == 1 or time.monotonic() * 1000 < at, "the prompts took longer than their sessions waited"
        await wait_ends(readers)
    latencies = [each for reader in readers for each in reader.latencies_ms()]
    close(readers)
    return latencies, sessions * count - len(latencies)


async def through_bare(url: str, sessions: int, count: int, pause: int) -> list[float]:
    readers = await read(url, [f"/stream?count={count}&pause={pause}"] * sessions)
    await wait_ends(readers)
    close(readers)
    return [each for reader in readers for each in reader.latencies_ms()]


async def wait_ends(readers: list[Reader]) -> None:
    async with asyncio.timeout(PATIENCE):
        await asyncio.gather(*(reader.over for reader in readers))
