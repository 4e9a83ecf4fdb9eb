"""Several processes with PostgreSQL and Redis: legs per second with one and two workers, deliveries per second with one
and two web processes, and the processor time of each kind of process.

Nothing is pinned: all processes share the cores, so processor time is measured beside the rate. Legs are queued before
there is a worker, and counted between a tenth and nine tenths of them, while all workers run. The followers share one
session, which one worker streams.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import psutil
import psycopg

from tests.benchmarks.figures import Figure
from tests.benchmarks.latency import wait_ends
from tests.benchmarks.readers import close, read
from tests.benchmarks.serving import STAMPED, deployment
from tests.stack.client import Client, until
from tests.stack.deployment import Deployment
from tests.stack.fleet import WorkerProcess
from tests.stack.process import GatewayProcess

SETTINGS = {
    "RUNNER": "worker",
    "DB_THREADS": "8",
    "ACTION_THREADS": "4",
    "REQUEST_THREADS": "8",
    "RATE_LIMIT_RPM": "10000000",
}
SESSIONS, PROMPTS = 200, 5
FOLLOWERS, WORDS, PAUSE_MS = 1000, 400, 4
"""250 words a second, so 250,000 deliveries a second."""

AT_ONCE = 16
START_SECONDS = 60.0
PATIENCE = 60.0


@dataclass(frozen=True)
class Spent:
    """Processor seconds by kind of process."""

    ours: float
    database: float
    redis: float
    measuring: float

    def __sub__(self, before: Spent) -> Spent:
        return Spent(
            self.ours - before.ours,
            self.database - before.database,
            self.redis - before.redis,
            self.measuring - before.measuring,
        )


async def measure() -> AsyncIterator[Figure]:
    # Everybody may run where there is room.
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    for count in (1, 2):
        with deployment(distributed=True, **SETTINGS) as state:
            if state is None:
                return
            rate, each = await legs(state, count)
        workers = f"{count} worker{'s' if count > 1 else ''}"
        yield Figure(f"legs, {workers}", rate, "legs/s", better="higher")
        yield Figure(f"a leg, {workers}: the workers' processor", each.ours, "ms")
        yield Figure(f"a leg, {workers}: PostgreSQL's processor", each.database, "ms")
    for count in (1, 2):
        with deployment(distributed=True, **SETTINGS, MAX_FOLLOWERS_PER_TENANT="100000") as state:
            assert state is not None
            rate, each = await deliveries(state, count)
        webs = f"{count} web process{'es' if count > 1 else ''}"
        yield Figure(f"deliveries to {FOLLOWERS:,} followers, {webs}", rate, "deliveries/s", better="higher")
        yield Figure(f"a delivery, {webs}: the web processes' processor", each.ours, "µs")
        yield Figure(f"a delivery, {webs}: the measuring process's", each.measuring, "µs")


async def legs(state: Deployment, count: int) -> tuple[float, Spent]:
    """Measures legs per second, and milliseconds of each."""
    async with running_processes(state, webs=1, workers=0) as (webs, _):
        await queue_prompts(webs[0])
        total = SESSIONS * PROMPTS
        async with AsyncExitStack() as stack:
            workers = [WorkerProcess(state, f"worker-{number}") for number in range(count)]
            for worker in workers:
                stack.callback(worker.end)
                worker.spawn()
            await until(lambda: count_ended_runs(state) >= total // 10, START_SECONDS, "the workers begin")
            began, first, before = time.perf_counter(), count_ended_runs(state), spent(workers, state)
            await until(lambda: count_ended_runs(state) >= total * 9 // 10, PATIENCE, "the legs end")
            seconds, done = time.perf_counter() - began, count_ended_runs(state) - first
            found = spent(workers, state) - before
    return done / seconds, scaled_figures(found, 1000 / done)


async def deliveries(state: Deployment, count: int) -> tuple[float, Spent]:
    """Measures deliveries per second, and microseconds of each."""
    async with running_processes(state, webs=count, workers=1) as (webs, _), aiohttp.ClientSession() as http:
        client = Client(http, webs[0].url)
        await client.create("first")
        await client.post("/v1/sessions/first/prompt?wait=20", {"text": "count 1"}, expect=200)
        await client.create("s", providerOpts={"delayMs": PAUSE_MS})
        path = ["/v1/sessions/s/events"] * (FOLLOWERS // count)
        readers = [reader for web in webs for reader in await read(web.url, path, keep=False)]
        before, began = spent(webs, state), time.perf_counter()
        await client.prompt("s", f"count {WORDS}")
        await wait_ends(readers)
        seconds, found = time.perf_counter() - began, spent(webs, state) - before
        delivered = sum(reader.events for reader in readers)
        close(readers)
    assert delivered >= FOLLOWERS * WORDS
    return delivered / seconds, scaled_figures(found, 1e6 / delivered)


@asynccontextmanager
async def running_processes(
    state: Deployment, *, webs: int, workers: int
) -> AsyncIterator[tuple[list[GatewayProcess], list[GatewayProcess]]]:
    """Starts the processes; the first web process migrates for all."""
    first = [GatewayProcess(state, f"web-{number}", STAMPED) for number in range(webs)]
    rest: list[GatewayProcess] = [WorkerProcess(state, f"worker-{number}") for number in range(workers)]
    for worker in rest:
        worker.command = (sys.executable, "-m", "tests.benchmarks.stamped_serve", "worker")
    try:
        for process in (*first, *rest):
            await process.start(START_SECONDS)
        yield first, rest
    finally:
        for process in (*first, *rest):
            await asyncio.to_thread(process.end)


async def queue_prompts(web: GatewayProcess) -> None:
    """Sends prompts while there is no worker to start them."""
    gate = asyncio.Semaphore(AT_ONCE)
    async with aiohttp.ClientSession() as http:
        client = Client(http, web.url)

        async def session(number: int) -> None:
            async with gate:
                await client.create(f"s-{number}", model="demo:echo")
                for _ in range(PROMPTS):
                    await client.prompt(f"s-{number}", "hello there")

        await asyncio.gather(*map(session, range(SESSIONS)))


def count_ended_runs(state: Deployment) -> int:
    """Returns the number of ended runs."""
    [(count,)] = state.rows("SELECT count(*) FROM sessions_app_run WHERE state = 'completed'")
    return int(count)


def spent(processes: Sequence[GatewayProcess], state: Deployment) -> Spent:
    """Returns the processor time so far; that of closed PostgreSQL connections is lost."""
    name = psycopg.conninfo.conninfo_to_dict(state.database_url)["dbname"]
    database = redis = 0.0
    for process in psutil.process_iter(["name", "cmdline"]):
        title = " ".join(process.info["cmdline"] or ())
        if process.info["name"] == "postgres" and f" {name} " in f"{title} ":
            database += seconds_of(process)
        elif process.info["name"] == "redis-server":
            redis += seconds_of(process)
    ours = sum(seconds_of(psutil.Process(process.pid)) for process in processes)
    return Spent(ours, database, redis, seconds_of(psutil.Process()))


def seconds_of(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def scaled_figures(found: Spent, factor: float) -> Spent:
    return Spent(found.ours * factor, found.database * factor, found.redis * factor, found.measuring * factor)
