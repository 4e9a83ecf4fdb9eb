"""Stored responses among 10,000 others: one created, one read, and one that continues a chain of 200.

The reference of the chain is the same request with the whole conversation in its own input and nothing stored: what
`previous_response_id` costs beyond its history.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aiohttp

from tests.benchmarks.bare_provider import DOUBLE_EVENTS
from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.relay import cpu_seconds
from tests.benchmarks.serving import deployment, reference, running_server
from tests.stack.deployment import KEY, Deployment
from tests.stack.process import ROOT, GatewayProcess

RESPONSES, CHAIN, ASKED = 10_000, 200, 60
FILL_SECONDS = 600
STREAMS, ROUNDS, WARM_STREAMS = 100, 4, 20
CONFIG = """
models:
  providers:
    bench:
      base_url: "{url}/v1"
      api_key: none
      models: [{{id: m, price: {{input: 1, output: 2}}}}, {{id: double}}]
  defaults: {{rate_limit: {{"/v1/responses": {{rpm: 0, enabled: false}}}}}}
"""


async def measure() -> AsyncIterator[Figure]:
    for distributed, name in ((False, "SQLite"), (True, "PostgreSQL")):
        with deployment(distributed=distributed) as state:
            if state is None:
                continue
            async with AsyncExitStack() as stack:
                provider = await stack.enter_async_context(reference("bare_provider", core=1))
                config = Path(state.directory) / "bench.yaml"
                config.write_text(CONFIG.format(url=provider.url))
                state.settings["CONFIG"] = str(config)
                server = await stack.enter_async_context(running_server(state))
                found = await asyncio.to_thread(fill_in_child, state)
                headers = {"Authorization": f"Bearer {KEY}"}
                http = await stack.enter_async_context(aiohttp.ClientSession(headers=headers))
                url = f"{server.url}/v1/responses"
                async for figure in asked(http, url, found, name):
                    yield figure
                stored, bare = await spent_on_streams(http, url, server)
                label = f"processor time of a stored stream of {DOUBLE_EVENTS} chunks, {name}"
                yield Figure(label, stored, "ms", bare, "not stored")


def fill_in_child(state: Deployment) -> dict[str, Any]:
    """Stores the responses in a child process, and returns its JSON about them."""
    command = [sys.executable, "-m", "tests.benchmarks.response_rows", str(RESPONSES), str(CHAIN)]
    environment = state.environment(0) | {"DJANGO_SETTINGS_MODULE": "gateway_project.settings"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=FILL_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


async def asked(http: aiohttp.ClientSession, url: str, found: dict[str, Any], name: str) -> AsyncIterator[Figure]:
    turn = {"role": "user", "content": "And now?"}
    plain = {"model": "bench:m", "input": [turn]}
    stored, bare = await in_turns(http, url, plain, {**plain, "store": False})
    yield Figure(f"response created among {RESPONSES:,}, {name}, p50", stored, "ms", bare, "not stored")
    chained = {**plain, "previous_response_id": found["newest"]}
    whole = {"model": "bench:m", "input": [*found["input"], turn], "store": False}
    going_on, sent = await in_turns(http, url, chained, whole)
    yield Figure(f"response behind a chain of {CHAIN}, {name}, p50", going_on, "ms", sent, "sent whole, not stored")
    yield Figure(f"newest 100 of {RESPONSES + CHAIN:,} responses listed, {name}, p50", found["listed"], "ms")
    share = found["stored"] / found["history"]
    yield Figure(f"bytes stored for a chain of {CHAIN}: share of its history", share, "", budget=1.1)
    reading = await times(http, "GET", f"{url}/{found['other']}", None)
    yield Figure(f"response read among {RESPONSES:,}, {name}, p50", percentile(reading, 0.5), "ms")
    listed = await times(http, "GET", f"{url}/{found['newest']}/input_items", None)
    yield Figure(f"its input listed, {name}, p50", percentile(listed, 0.5), "ms")


async def spent_on_streams(http: aiohttp.ClientSession, url: str, server: GatewayProcess) -> list[float]:
    """Returns the milliseconds of the server's processor for a stream that is stored, and for one that is not."""
    streamed = {"model": "bench:double", "input": "And now?", "stream": True}
    bodies, spent = (streamed, {**streamed, "store": False}), [0.0, 0.0]
    for body in bodies:
        await times(http, "POST", url, body, WARM_STREAMS)
    for _ in range(ROUNDS):
        for place, body in enumerate(bodies):
            before = cpu_seconds(server)
            await times(http, "POST", url, body, STREAMS)
            spent[place] += cpu_seconds(server) - before
    return [seconds * 1000 / (STREAMS * ROUNDS) for seconds in spent]


async def in_turns(http: aiohttp.ClientSession, url: str, *bodies: dict[str, Any]) -> list[float]:
    """Returns the median of each body, asked in turns."""
    found: list[list[float]] = [[] for _ in bodies]
    for _ in range(3):
        for body, kept in zip(bodies, found, strict=True):
            kept += await times(http, "POST", url, body, ASKED // 3)
    return [percentile(kept, 0.5) for kept in found]


async def times(
    http: aiohttp.ClientSession, method: str, url: str, body: dict[str, Any] | None, count: int = ASKED
) -> list[float]:
    taken = []
    for _ in range(count):
        began = time.perf_counter()
        async with http.request(method, url, json=body) as answer:
            await answer.read()
            assert answer.status == 200, await answer.text()
        taken.append((time.perf_counter() - began) * 1000)
    return taken
