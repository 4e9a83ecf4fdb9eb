"""The model engine beside the agent library's bare loop, both over HTTP with one scripted provider on the other core.

The figures are words, or runs, per second of the server's own processor time. The gateway's sessions have followers;
the bare loop's events are read and discarded.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from tests.benchmarks.figures import Figure
from tests.benchmarks.latency import wait_ends
from tests.benchmarks.readers import close, read
from tests.benchmarks.serving import deployment, pin_command, reference, running_server
from tests.stack import callbacks as callback_server
from tests.stack.callbacks import Callbacks, callbacks_serving
from tests.stack.client import Client
from tests.stack.process import ROOT, GatewayProcess

CONFIG = 'models: {{providers: {{scripted: {{base_url: "{url}", api_key: none, default_model: hello}}}}}}\n'
WORDS = 1500
STREAMING = 20
WITH_TOOLS = 100
TOOL = "tool:echo"
"""One call per run: the provider repeats call ids, at which the bare loop stops."""

WARM = "hello"


@dataclass(frozen=True)
class Cost:
    """Elapsed seconds, and the server's processor seconds."""

    clock: float
    processor: float


async def measure() -> AsyncIterator[Figure]:
    callback_server.SLOWEST_SECONDS = 0.0
    async with upstream() as url, callbacks_serving(random.Random(0)) as callbacks:
        with deployment() as state:
            assert state is not None
            config = Path(state.directory) / "bench.yaml"
            config.write_text(CONFIG.format(url=url))
            state.settings["CONFIG"] = str(config)
            async with running_server(state) as server, aiohttp.ClientSession() as http:
                gateway = Gateway(server, Client(http, server.url), callbacks)
                await gateway.run(WARM, 1)
                text = await gateway.run(f"words:{WORDS}", STREAMING)
                alone = await gateway.run(f"words:{WORDS}", STREAMING, followed=False)
                tools = await gateway.run(TOOL, WITH_TOOLS)
        bare_text, bare_tools = await run_bare_loop(url, f"http://127.0.0.1:{callbacks.port}/")
    words = WORDS * STREAMING
    name = "the bare loop"
    yield Figure(
        f"model engine, {STREAMING} sessions: share of the bare loop",
        bare_text.processor / text.processor,
        "of bare",
        1.0,
        name,
        0.8,
        "higher",
    )
    yield Figure(
        "  the same, when its followers take the end only",
        bare_text.processor / alone.processor,
        "of bare",
        1.0,
        name,
        None,
        "higher",
    )
    yield Figure(
        "  words per processor second",
        words / text.processor,
        "words/s",
        words / bare_text.processor,
        name,
        None,
        "higher",
    )
    yield Figure("  words per second", words / text.clock, "words/s", words / bare_text.clock, name, None, "higher")
    yield Figure(
        f"{WITH_TOOLS} sessions with a callback at once, until all ended",
        tools.clock,
        "s",
        bare_tools.clock,
        name,
    )
    yield Figure(
        "  processor time of a run",
        tools.processor / WITH_TOOLS * 1000,
        "ms",
        bare_tools.processor / WITH_TOOLS * 1000,
        name,
    )


class Gateway:
    """Runs `count` sessions of a scenario at once, each with a follower."""

    def __init__(self, server: GatewayProcess, client: Client, callbacks: Callbacks) -> None:
        self._server, self._client, self._callbacks = server, client, callbacks

    async def run(self, scenario: str, count: int, *, followed: bool = True) -> Cost:
        kind = f"{scenario.replace(':', '-')}-{'followed' if followed else 'alone'}"
        names = [f"{kind}-{number}" for number in range(count)]
        tools = [self._callbacks.registration("echo", idempotent=True)] if scenario.startswith("tool") else []
        for name in names:
            await self._client.create(name, model=f"scripted:{scenario}", tools=tools)
        # The terminal event alone tells that a run has ended; it is shown whatever else is filtered out.
        shown = "" if followed else "?types=agent_end"
        readers = await read(self._server.url, [f"/v1/sessions/{name}/events{shown}" for name in names], keep=False)

        async def work() -> None:
            await asyncio.gather(*(self._client.prompt(name, "hello") for name in names))
            await wait_ends(readers)

        cost = await cost_of(self._server, work)
        close(readers)
        return cost


async def run_bare_loop(url: str, callback: str) -> tuple[Cost, Cost]:
    async with reference("bare_loop", url, callback) as server, aiohttp.ClientSession() as http:
        client = Client(http, server.url)

        async def run(scenario: str, count: int) -> Cost:
            async def work() -> None:
                await client.get(f"/run?model={scenario}&count={count}")

            return await cost_of(server, work)

        await run(WARM, 1)
        return await run(f"words:{WORDS}", STREAMING), await run(TOOL, WITH_TOOLS)


async def cost_of(server: GatewayProcess, work: Callable[[], Awaitable[None]]) -> Cost:
    process = psutil.Process(server.pid)
    before, began = process.cpu_times(), time.perf_counter()
    await work()
    clock, after = time.perf_counter() - began, process.cpu_times()
    return Cost(clock, after.user + after.system - before.user - before.system)


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    """Starts the scripted provider; yields its address."""
    command = [*pin_command(1), sys.executable, "-m", "tests.agents.upstream", "--port", "0"]
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
    try:
        assert process.stdout is not None
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/v1"
    finally:
        process.kill()
        await process.wait()
