"""Runs of 200 streamed words through the gateway, one by one and 32 at once, beside the agent library's bare loop.

The provider is scripted and on the other core. Processor time is the server's own, per run; the bare loop asks over the
vendor's SDK and has no sessions, log or clients. Rounds of both alternate, because the machine has other things to do.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import aiohttp

from tests.benchmarks.figures import Figure
from tests.benchmarks.latency import wait_ends
from tests.benchmarks.model_engine import CONFIG, cost_of, upstream
from tests.benchmarks.readers import Reader, close, read
from tests.benchmarks.serving import deployment, reference, resident_kib, running_server
from tests.stack.client import Client
from tests.stack.process import GatewayProcess

SCENARIO = "words:200"
ROUNDS = 3
ONE_BY_ONE = 20
AT_ONCE = 32
RUNS_BEFORE_MEMORY = int(os.environ.get("GATEWAY_BENCH_RUNS", "1000"))
"""The runs after which resident memory is read, in batches of AT_ONCE."""

FIRST = b'"delta":"'


@dataclass
class Rounds:
    """The cost of one server's rounds: milliseconds of processor time per run, and to the first word."""

    alone: list[float] = field(default_factory=list)
    at_once: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)


async def measure() -> AsyncIterator[Figure]:
    async with upstream() as url:
        for name, distributed in (("embedded", False), ("PostgreSQL and Redis", True)):
            with deployment(distributed=distributed) as state:
                if state is None:
                    continue
                config = Path(state.directory) / "bench.yaml"
                config.write_text(CONFIG.format(url=url))
                state.settings["CONFIG"] = str(config)
                async with (
                    running_server(state) as server,
                    reference("bare_loop", url, url) as bare,
                    aiohttp.ClientSession() as http,
                ):
                    gateway = Sessions(server, Client(http, server.url))
                    ours, theirs = await alternate(gateway, bare, Client(http, bare.url))
                    for figure in figures(name, ours, theirs):
                        yield figure
                    if not distributed:
                        yield await memory(gateway)


async def alternate(gateway: Sessions, bare: GatewayProcess, client: Client) -> tuple[Rounds, Rounds]:
    ours, theirs = Rounds(), Rounds()
    for number in range(ROUNDS + 1):
        # The first round of each warms it up.
        kept = (ours, theirs) if number else (Rounds(), Rounds())
        await gateway.round(kept[0])
        await bare_round(kept[1], bare, client)
    return ours, theirs


def figures(name: str, ours: Rounds, theirs: Rounds) -> list[Figure]:
    bare = "the bare loop"
    return [
        Figure(f"{name}: a run alone, processor time", median(ours.alone), "ms", median(theirs.alone), bare),
        Figure(f"{name}: a run of {AT_ONCE} at once", median(ours.at_once), "ms", median(theirs.at_once), bare),
        Figure(
            f"{name}: share of the bare loop",
            median(ours.at_once) / median(theirs.at_once),
            "of bare",
            1.0,
            bare,
            1.0,
        ),
        Figure(f"{name}: first word of {AT_ONCE} at once", median(ours.first), "ms", median(theirs.first), bare),
    ]


async def memory(gateway: Sessions) -> Figure:
    for _ in range(RUNS_BEFORE_MEMORY // AT_ONCE):
        await gateway.run(AT_ONCE)
    mebibytes = resident_kib(gateway.server) / 1024
    return Figure(f"embedded: resident after {RUNS_BEFORE_MEMORY} runs", mebibytes, "MiB", budget=150)


class Sessions:
    """New sessions on a gateway, each with a follower."""

    def __init__(self, server: GatewayProcess, client: Client) -> None:
        self.server = server
        self._client = client
        self._made = 0

    async def round(self, rounds: Rounds) -> None:
        alone = 0.0
        for _ in range(ONE_BY_ONE):
            alone += (await self.run(1))[0]
        rounds.alone.append(alone / ONE_BY_ONE * 1000)
        processor, first = await self.run(AT_ONCE)
        rounds.at_once.append(processor / AT_ONCE * 1000)
        rounds.first += first

    async def run(self, count: int) -> tuple[float, list[float]]:
        """Returns the processor seconds of a prompt in each of `count` sessions, and the milliseconds to each first
        word."""
        names = [f"run-{self._made + number}" for number in range(count)]
        self._made += count
        for name in names:
            await self._client.create(name, model=f"scripted:{SCENARIO}", tools=[])
        readers = await read(self.server.url, [f"/v1/sessions/{name}/events" for name in names])
        began = time.monotonic_ns()

        async def work() -> None:
            await asyncio.gather(*(self._client.prompt(name, "hello") for name in names))
            await wait_ends(readers)

        cost = await cost_of(self.server, work)
        close(readers)
        return cost.processor, [(first_word(reader) - began) / 1e6 for reader in readers]


def first_word(reader: Reader) -> int:
    return next(at for at, data in reader.chunks if FIRST in data)


async def bare_round(rounds: Rounds, bare: GatewayProcess, client: Client) -> None:
    async def work(count: int) -> list[float]:
        answer = await client.get(f"/run?model={SCENARIO}&count={count}")
        first: list[float] = answer["first"]
        return first

    async def alone() -> None:
        for _ in range(ONE_BY_ONE):
            await work(1)

    async def at_once() -> None:
        rounds.first += await work(AT_ONCE)

    rounds.alone.append((await cost_of(bare, alone)).processor / ONE_BY_ONE * 1000)
    rounds.at_once.append((await cost_of(bare, at_once)).processor / AT_ONCE * 1000)
