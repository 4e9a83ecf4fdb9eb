"""The time until a prompt's 202, each prompt in a session of its own.

First one prompt at a time, each after the run of the one before; then one right after the other, while earlier runs
still use the same core.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp

from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.serving import deployment, reference, running_server
from tests.stack.client import Client

PROMPTS = 150
POLL_SECONDS = 0.02


async def measure() -> AsyncIterator[Figure]:
    for distributed, name, budget in ((False, "embedded", 10.0), (True, "PostgreSQL and Redis", None)):
        with deployment(distributed=distributed) as state, deployment(distributed=distributed) as bare_state:
            if state is None or bare_state is None:
                continue
            async with AsyncExitStack() as stack:
                http = await stack.enter_async_context(aiohttp.ClientSession())
                server = await stack.enter_async_context(running_server(state))
                client = Client(http, server.url)
                alone, behind = (
                    await time_prompts(client, "alone", wait=True),
                    await time_prompts(client, "behind", wait=False),
                )
            async with AsyncExitStack() as stack:
                http = await stack.enter_async_context(aiohttp.ClientSession())
                arguments = (bare_state.database_url,) if distributed else ()
                bare = await stack.enter_async_context(reference("bare_drf", *arguments))
                beside = await time_inserts(Client(http, bare.url))
        for share in (0.5, 0.99):
            yield Figure(
                f"prompt accepted, {name}, p{share * 100:.0f}",
                percentile(alone, share),
                "ms",
                percentile(beside, share),
                "a REST view that inserts a row",
                budget if share == 0.5 else None,
            )
        yield Figure(f"  right behind another, {name}, p50", percentile(behind, 0.5), "ms")


async def time_prompts(client: Client, kind: str, *, wait: bool) -> list[float]:
    names = [f"{kind}-{number}" for number in range(PROMPTS)]
    for name in names:
        await client.create(name, model="demo:echo")
    # The first run loads what every later one finds.
    await client.post(f"/v1/sessions/{names.pop(0)}/prompt?wait=20", {"text": "hello"}, expect=200)
    found = []
    for name in names:
        began = time.perf_counter()
        await client.prompt(name, "hello")
        found.append((time.perf_counter() - began) * 1000)
        if wait:
            await wait_idle(client, name)
    return found


async def wait_idle(client: Client, name: str) -> None:
    while (await client.get(f"/v1/sessions/{name}"))["state"] != "idle":  # noqa: ASYNC110
        await asyncio.sleep(POLL_SECONDS)


async def time_inserts(client: Client) -> list[float]:
    found = []
    for _ in range(PROMPTS):
        began = time.perf_counter()
        await client.post("/insert", {"text": "hello"}, expect=202)
        found.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(POLL_SECONDS)
    return found[PROMPTS // 10 :]
