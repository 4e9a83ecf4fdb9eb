"""One tenant does its worst; another one prompts, reads and relays as before.

The worst: forks of a session with 80 MB of attachments, sixteen steers at a time on a session whose stream is held,
calls whose usage no column holds, sessions with an MCP server that is silent, and prompts that make the provider fail.
The other tenant's p99 has to stay within twice its quiet value, and it sees no error. Both are measured in turns, and
the budget is that of the median of their ratios, because a shared machine changes its speed. A hostile turn is longer
than a silent server is waited for, so that everything that waited for it goes on at once in that turn. The hostile
tenant has the request rate of any key.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp
import psycopg

from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.serving import deployment, reference, running_server
from tests.stack.deployment import Deployment

QUIET_KEY, WORST_KEY = "quiet-key-of-the-benchmark-0123456789", "worst-key-of-the-benchmark-0123456789"
ROUNDS, SECONDS, PAUSE_SECONDS = 5, 13.0, 0.02
WARM_SECONDS = 3.0
SETTLE_SECONDS = 3.0
"""Everything that the hostile tenant has begun ends before the next quiet turn."""

SHARE, BUDGET = 0.99, 2.0
PARTS, PART_BYTES = 4, 20 * 1024 * 1024
STEERS = 16
CONFIG = """
models:
  providers:
    bad:
      base_url: "{url}/v1"
      api_key: none
      models:
        - {{id: fine, price: &price {{input: 1, output: 2}}}}
        - {{id: poison, price: *price}}
        - {{id: failing, price: *price}}
mcp:
  silent: {{url: "{url}/mcp"}}
"""


class Tenant:
    """The client of one tenant; `errors` are the answers of 5xx and the connections that failed."""

    def __init__(self, http: aiohttp.ClientSession, url: str, key: str) -> None:
        self._http, self._url, self._headers = http, url, {"X-API-Key": key}
        self.errors: list[str] = []

    async def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        try:
            async with self._http.post(self._url + path, json=body, headers=self._headers) as answer:
                text = await answer.text()
                if answer.status >= 500:
                    self.errors.append(f"{path} {answer.status} {text[:200]}")
                return dict(json.loads(text or "{}"))
        except aiohttp.ClientError as error:
            self.errors.append(f"{path} {type(error).__name__}")
            return {}

    async def get(self, path: str) -> dict[str, Any]:
        async with self._http.get(self._url + path, headers=self._headers) as answer:
            return dict(await answer.json())


async def measure() -> AsyncIterator[Figure]:
    for distributed, name in ((False, "embedded"), (True, "PostgreSQL and Redis")):
        keys = f"{QUIET_KEY}:quiet,{WORST_KEY}:worst"
        with deployment(distributed=distributed, API_KEYS=keys, RATE_LIMIT_RPM="0") as state:
            if state is None:
                continue
            async with AsyncExitStack() as stack:
                provider = await stack.enter_async_context(reference("hostile_provider", core=1))
                config = Path(state.directory) / "bench.yaml"
                config.write_text(CONFIG.format(url=provider.url))
                state.settings["CONFIG"] = str(config)
                server = await stack.enter_async_context(running_server(state, core=None))
                http = await stack.enter_async_context(aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)))
                quiet, worst = (Tenant(http, server.url, key) for key in (QUIET_KEY, WORST_KEY))
                async for figure in compare(name, state, quiet, worst):
                    yield figure


async def compare(name: str, state: Deployment, quiet: Tenant, worst: Tenant) -> AsyncIterator[Figure]:
    await prepare(state, quiet, worst)
    await prompt_for(quiet, WARM_SECONDS)
    alone, beside = [], []
    for _ in range(ROUNDS):
        alone.append(await prompt_for(quiet, SECONDS))
        with held(state):
            attacks = [asyncio.create_task(repeat(attack, worst)) for attack in ATTACKS]
            beside.append(await prompt_for(quiet, SECONDS))
            for task in attacks:
                task.cancel()
            await asyncio.gather(*attacks, return_exceptions=True)
        await asyncio.sleep(SETTLE_SECONDS)
    for kind in KINDS:
        ratios = [percentile(b[kind], SHARE) / percentile(a[kind], SHARE) for a, b in zip(alone, beside, strict=True)]
        yield Figure(f"{kind} beside a hostile tenant, {name}, p99", median(ratios), "of quiet", None, "", BUDGET)
        before, after = ([value for turn in turns for value in turn[kind]] for turns in (alone, beside))
        for share in (0.5, SHARE):
            value, reference = percentile(after, share), percentile(before, share)
            yield Figure(f"  p{100 * share:.0f} of all turns, {name}", value, "ms", reference, "quiet")
    yield Figure(f"errors of the other tenant, {name}", float(len(quiet.errors)), "", None, "", 0.0)
    for error in quiet.errors[:3]:
        print(f"    {error}", flush=True)


async def prepare(state: Deployment, quiet: Tenant, worst: Tenant) -> None:
    """Makes the sessions, and gives one of the hostile tenant's eighty megabytes."""
    await quiet.post("/v1/sessions", {"sessionId": "mine", "model": "demo:echo"})
    for session in ("big", "held"):
        await worst.post("/v1/sessions", {"sessionId": session, "model": "demo:echo"})
        await worst.post(f"/v1/sessions/{session}/prompt?wait=20", {"text": "hello"})
    blob = f"decode(repeat('00', {PART_BYTES}), 'hex')" if state.database_url else f"zeroblob({PART_BYTES})"
    for position in range(PARTS):
        state.write(
            "INSERT INTO sessions_app_attachmentcontent (data, size, created_at)"
            f" VALUES ({blob}, {PART_BYTES}, '2026-01-01 00:00:00')"
        )
        state.write(
            "INSERT INTO sessions_app_promptattachment (message_id, content_id, position, kind, media_type)"
            f" SELECT m.id, (SELECT max(id) FROM sessions_app_attachmentcontent), {position}, 'image', 'image/png'"
            " FROM sessions_app_message m JOIN sessions_app_agentsession s ON s.id = m.session_id"
            " WHERE s.public_id = 'big' AND m.role = 'user'"
        )


async def prompt(quiet: Tenant) -> None:
    await quiet.post("/v1/sessions/mine/prompt?wait=20", {"text": "hello"})


async def read(quiet: Tenant) -> None:
    await quiet.get("/v1/sessions/mine/events?format=json&limit=5")


async def relay(quiet: Tenant) -> None:
    body = {"model": "bad:fine", "messages": [{"role": "user", "content": "hello"}]}
    await quiet.post("/v1/chat/completions", body)


KINDS: dict[str, Callable[[Tenant], Awaitable[None]]] = {
    "a prompt and its answer": prompt,
    "a page of events": read,
    "a relayed call": relay,
}


async def prompt_for(quiet: Tenant, seconds: float) -> dict[str, list[float]]:
    """Measures one of each kind after the other; returns their milliseconds."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for kind, act in KINDS.items():
            began = time.perf_counter()
            await act(quiet)
            found[kind].append((time.perf_counter() - began) * 1000)
            await asyncio.sleep(PAUSE_SECONDS)
    return found


async def repeat(attack: Callable[[Tenant], Awaitable[float]], worst: Tenant) -> None:
    """Repeats an attack, which returns the pause after it: together they come to a key's usual 600 a minute."""
    while True:
        with contextlib.suppress(aiohttp.ClientError):
            pause = await attack(worst)
        await asyncio.sleep(pause)


async def fork(worst: Tenant) -> float:
    messages = (await worst.get("/v1/sessions/big/messages")).get("messages", [])
    await worst.post("/v1/sessions/big/fork", {"messageId": messages[0]["id"]})
    return 1.0


async def steer(worst: Tenant) -> float:
    await asyncio.gather(*(worst.post("/v1/sessions/held/steer", {"text": "hurry"}) for _ in range(STEERS)))
    return 2.0


async def poison(worst: Tenant) -> float:
    await worst.post(
        "/v1/chat/completions", {"model": "bad:poison", "messages": [{"role": "user", "content": "hello"}]}
    )
    return 0.5


async def fail(worst: Tenant) -> float:
    await worst.post(
        "/v1/chat/completions", {"model": "bad:failing", "messages": [{"role": "user", "content": "hello"}]}
    )
    return 1.0


async def wait_for_silence(worst: Tenant) -> float:
    made = await worst.post("/v1/sessions", {"model": "bad:fine", "tools": ["mcp:silent"]})
    if session := made.get("sessionId"):
        await worst.post(f"/v1/sessions/{session}/prompt", {"text": "hello"})
    return 0.5


ATTACKS = (fork, steer, poison, fail, wait_for_silence)


@contextmanager
def held(state: Deployment) -> Iterator[None]:
    """Holds the row of the stream that the steers need. On SQLite nothing outside of the process can hold one row."""
    if not state.database_url:
        yield
        return
    with psycopg.connect(state.database_url) as connection:
        connection.execute(
            "SELECT e.id FROM events_app_stream e JOIN sessions_app_agentsession s ON s.stream_id = e.id"
            " WHERE s.public_id = 'held' FOR UPDATE OF e"
        )
        yield
