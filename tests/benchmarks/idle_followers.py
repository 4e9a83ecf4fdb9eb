"""10,000 idle followers of one process: the memory of each, and the latency of other requests meanwhile."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp

from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.readers import close, read
from tests.benchmarks.serving import deployment, reference, resident_kib, running_server
from tests.stack.client import Client

FOLLOWERS = 10_000
SESSIONS = 500
PROMPTS = 60
SETTLE_SECONDS = 2.0
"""The pause after the last one has connected, so that garbage of the start is not counted."""


async def measure() -> AsyncIterator[Figure]:
    with deployment(MAX_FOLLOWERS_PER_TENANT=str(2 * FOLLOWERS)) as state:
        assert state is not None
        async with running_server(state) as server, aiohttp.ClientSession() as http:
            client = Client(http, server.url)
            for number in range(SESSIONS):
                await client.create(f"s-{number}")
            await client.create("busy", model="demo:echo")
            await client.post("/v1/sessions/busy/prompt?wait=20", {"text": "hello"}, expect=200)
            await accepted_ms(client)
            before = resident_kib(server)
            paths = [f"/v1/sessions/s-{number % SESSIONS}/events?follow=session" for number in range(FOLLOWERS)]
            began = time.perf_counter()
            readers = await read(server.url, paths, keep=False)
            connecting = FOLLOWERS / (time.perf_counter() - began)
            await asyncio.sleep(SETTLE_SECONDS)
            each = (resident_kib(server) - before) / FOLLOWERS
            meanwhile = await accepted_ms(client)
            close(readers)
    async with reference("bare_sse") as bare:
        before = resident_kib(bare)
        readers = await read(bare.url, ["/idle"] * FOLLOWERS, keep=False)
        await asyncio.sleep(SETTLE_SECONDS)
        beside = (resident_kib(bare) - before) / FOLLOWERS
        close(readers)
    yield Figure("idle follower, memory of each of 10,000", each, "KiB", beside, "bare ASGI SSE", 40 * 1000 / 1024)
    yield Figure("followers connected", connecting, "per second", better="higher")
    yield Figure("prompt accepted beside 10,000 followers, p50", percentile(meanwhile, 0.5), "ms", budget=10)
    yield Figure("prompt accepted beside 10,000 followers, p99", percentile(meanwhile, 0.99), "ms")


async def accepted_ms(client: Client) -> list[float]:
    found = []
    for _ in range(PROMPTS):
        began = time.perf_counter()
        await client.prompt("busy", "hello")
        found.append((time.perf_counter() - began) * 1000)
        await client.post("/v1/sessions/busy/prompt?wait=20", {"text": "hello"}, expect=200)
    return found
