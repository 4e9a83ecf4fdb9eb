"""The cost of the relay: chat completions, whole and streamed, beside the provider and a bare relay.

The figures are responses per second of the relay's own processor time, so that neither the load nor the provider on the
other core limits them. Everything is on: keys, limits, the ledger, metrics, a log line for every request. The relay and
its reference alternate within seconds, because a shared machine changes its speed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import psutil

from tests.benchmarks.bare_provider import EVENTS, LONG_EVENTS
from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.http_load import Load, load
from tests.benchmarks.serving import deployment, reference, resident_kib, running_server
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

ROUNDS, SECONDS, WARM_SECONDS = 3, 1.0, 1.0
CONNECTIONS = (1, 32, 256)
PACED_CONNECTIONS, PACED_SECONDS = (32, 256), 2.5
"""A pace_acts stream lasts two seconds."""

AT = 32
"""Connections of the long streams, which show the cost of an event."""

IDLE_STREAMS = 500
PROMPT = b'{"model":"%b","messages":[{"role":"user","content":"Say hello to the whole world, please."}]%b}'
CONFIG = """
models:
  providers:
    bench:
      base_url: "{url}/v1"
      api_key: none
      models:
        - {{id: m, price: &price {{input: 1, output: 2}}}}
        - {{id: pace_acts, price: *price}}
        - {{id: long, price: *price}}
        - idle
  defaults:
    rate_limit: {{"/v1/chat/completions": {{rpm: 100000000, enabled: true}}}}
"""


@dataclass(frozen=True)
class Measured:
    """Responses per processor second of the server, responses per second, and the median in milliseconds."""

    capacity: float
    rate: float
    p50: float


def body_of(*, stream: bool, model: bytes = b"m") -> bytes:
    return PROMPT % (model, b',"stream":true' if stream else b"")


async def measure() -> AsyncIterator[Figure]:
    for distributed, name in ((False, "embedded"), (True, "PostgreSQL and Redis")):
        with deployment(distributed=distributed, LOG_LEVEL="INFO") as state:
            if state is None:
                continue
            async with AsyncExitStack() as stack:
                provider = await stack.enter_async_context(reference("bare_provider", core=1))
                config = Path(state.directory) / "bench.yaml"
                config.write_text(CONFIG.format(url=provider.url))
                state.settings["CONFIG"] = str(config)
                path = "/v1/chat/completions"
                bare = await stack.enter_async_context(reference("bare_relay", provider.url + path))
                gateway = await stack.enter_async_context(running_server(state))
                # First, while nothing that was freed could be used again.
                async for figure in open_streams(name, bare, gateway, path):
                    yield figure
                async for figure in compare(name, provider, bare, gateway, path, direct=not distributed):
                    yield figure


async def compare(
    name: str, provider: GatewayProcess, bare: GatewayProcess, gateway: GatewayProcess, path: str, *, direct: bool
) -> AsyncIterator[Figure]:
    spent: dict[tuple[str, int], Sequence[float]] = {}
    for kind, body, all_connections, seconds, budget in (
        ("answers", body_of(stream=False), CONNECTIONS, SECONDS, 0.4),
        ("streams", body_of(stream=True), CONNECTIONS, SECONDS, 0.8),
        ("streams of 500 events", body_of(stream=True, model=b"long"), (AT,), SECONDS, None),
        ("streams at a model's pace", body_of(stream=True, model=b"pace_acts"), PACED_CONNECTIONS, PACED_SECONDS, 0.8),
    ):
        for connections in all_connections:
            at = f"{kind}, {connections} connections"
            beside, found = await in_turns((bare, gateway), path, body, connections, seconds)
            if direct and seconds == SECONDS:
                (straight,) = await in_turns((provider,), path, body, connections)
                yield Figure(f"the provider itself, {at}", straight.rate, "per s", better="higher")
            yield Figure(f"relay, {name}, {at}", found.capacity, "per CPU s", beside.capacity, "bare", better="higher")
            spent[kind, connections] = [1e6 / measured.capacity for measured in (found, beside)]
            share = found.capacity / beside.capacity
            yield Figure(f"relay, {name}, {at}: share of bare", share, "", None, "", budget, "higher")
            yield Figure(f"relay, {name}, {at}, p50", found.p50, "ms", beside.p50, "bare")
    short, long = spent["streams", AT], spent["streams of 500 events", AT]
    event, bare_event = [(more - less) / (LONG_EVENTS - EVENTS) for less, more in zip(short, long, strict=True)]
    yield Figure(f"relay, {name}, an event of a stream", event, "µs", bare_event, "bare")
    begun, bare_begun = [less - each * EVENTS for less, each in zip(short, (event, bare_event), strict=True)]
    yield Figure(f"relay, {name}, a stream without its events", begun, "µs", bare_begun, "bare")


async def in_turns(
    processes: Sequence[GatewayProcess], path: str, body: bytes, connections: int, seconds: float = SECONDS
) -> Sequence[Measured]:
    """Loads each process in every round, and sums up the rounds."""
    for process in processes:
        await load(process.url + path, body, connections=connections, seconds=WARM_SECONDS, key=KEY)
    sums, spent = [Load() for _ in processes], [0.0 for _ in processes]
    for _ in range(ROUNDS):
        for place, process in enumerate(processes):
            before = cpu_seconds(process)
            found = await load(process.url + path, body, connections=connections, seconds=seconds, key=KEY)
            spent[place] += cpu_seconds(process) - before
            assert not found.failed, f"{found.failed} of {found.answers} answers failed: {found.error}"
            sums[place].answers += found.answers
            sums[place].seconds += found.seconds
            sums[place].latencies += found.latencies
    return [
        Measured(every.answers / cpu, every.answers / every.seconds, percentile(every.latencies, 0.5) * 1000)
        for every, cpu in zip(sums, spent, strict=True)
    ]


def cpu_seconds(process: GatewayProcess) -> float:
    times = psutil.Process(process.pid).cpu_times()
    return float(times.user + times.system)


async def open_streams(name: str, bare: GatewayProcess, gateway: GatewayProcess, path: str) -> AsyncIterator[Figure]:
    """Measures the memory of an open, idle stream."""
    for process in (bare, gateway):
        # What a process loads and makes at its first requests is no stream's.
        await load(process.url + path, body_of(stream=True), connections=1, seconds=WARM_SECONDS, key=KEY)
    beside = await stream_memory(bare, path)
    found = await stream_memory(gateway, path)
    yield Figure(f"relay, {name}, memory of an open stream", found, "KiB", beside, "bare")


async def stream_memory(process: GatewayProcess, path: str) -> float:
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
        before = resident_kib(process)
        for _ in range(IDLE_STREAMS):
            body = body_of(stream=True, model=b"idle")
            answer = await stack.enter_async_context(session.post(process.url + path, data=body, headers=headers))
            await answer.content.readany()
        await asyncio.sleep(0.5)
        return (resident_kib(process) - before) / IDLE_STREAMS
