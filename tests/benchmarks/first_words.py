"""The newcomer's wait: from `make run` to the first streamed word, and from the first prompt to its first word.

`make run` starts in a copy of the checkout that has its packages and its compiled modules, once on an empty data
directory and once again, with the settings of a newcomer: none but the key and the port.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from tests.benchmarks.figures import Figure
from tests.benchmarks.serving import pin_command, reference
from tests.stack.checkout import checkout_prepare, group_lives
from tests.stack.client import Client, until
from tests.stack.deployment import KEY
from tests.stack.process import free_port

SECONDS = 120
POLL_SECONDS = 0.01
HEADERS = {"X-API-Key": KEY}


@dataclass(frozen=True)
class Wait:
    """Seconds from the start to the first word, and from a prompt to its first word: the first one and the next."""

    from_start: float
    first_prompt: float
    next_prompt: float


async def measure() -> AsyncIterator[Figure]:
    if shutil.which("make") is None:
        print("  skipped: there is no make", flush=True)
        return
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as directory:
        checkout = await asyncio.to_thread(checkout_prepare, Path(directory) / "agent-gateway")
        await _newcomer(checkout, "compiled")  # compiles the modules
        first = await _newcomer(checkout, "fresh")
        again = [await _newcomer(checkout, "fresh") for _ in range(2)]
    began = time.perf_counter()
    async with reference("bare_sse") as bare, aiohttp.ClientSession() as http:
        stream = f"{bare.url}/stream?count=1&pause=0"
        await _read_until(http, stream, b"delta")
        bare_start = time.perf_counter() - began
        began = time.perf_counter()
        await _read_until(http, stream, b"delta")
        bare_prompt = time.perf_counter() - began
    best = min(again, key=lambda wait: wait.from_start)
    yield Figure("make run to the first word, again", best.from_start, "s", bare_start, "bare ASGI SSE", 5.0)
    yield Figure(
        "make run to the first word, first (migrations)", first.from_start, "s", bare_start, "bare ASGI SSE", 8.0
    )
    prompt = min(wait.first_prompt for wait in again)
    yield Figure(
        "first prompt of a process to its first word", prompt * 1000, "ms", bare_prompt * 1000, "bare ASGI SSE", 1000
    )
    following = min(wait.next_prompt for wait in again)
    yield Figure("next prompt to its first word", following * 1000, "ms", bare_prompt * 1000, "bare ASGI SSE", 150)


async def _newcomer(checkout: Path, data: str) -> Wait:
    """Runs `make run` on the data directory of this name, and waits for the words of two prompts."""
    async with _make_run(checkout, data) as (url, began), aiohttp.ClientSession(headers=HEADERS) as http:
        await _serving(http, url)
        client = Client(http, url)
        name = f"bench-{time.time_ns()}"
        await client.create(name)
        prompts = []
        for _ in range(2):
            prompted = time.perf_counter()
            await client.prompt(name, "Hello, gateway")
            await _read_until(http, f"{url}/v1/sessions/{name}/events", b"event: message_delta")
            prompts.append((prompted, time.perf_counter()))
            await _read_until(http, f"{url}/v1/sessions/{name}/events", b"event: agent_end")
        (first, first_word), (following, following_word) = prompts
        return Wait(first_word - began, first_word - first, following_word - following)


@asynccontextmanager
async def _make_run(checkout: Path, data: str) -> AsyncIterator[tuple[str, float]]:
    """Yields the address that will be served, and the moment of the start."""
    port = free_port()
    variables = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    variables |= {"GATEWAY_PORT": str(port), "GATEWAY_API_KEYS": KEY, "GATEWAY_DATA_DIR": str(checkout.parent / data)}
    began = time.perf_counter()
    process = await asyncio.create_subprocess_exec(
        # The packages are those of this environment: their stamp is taken as it is.
        *(*pin_command(0), "make", "-o", ".venv/runtime.stamp", "run"),
        cwd=checkout, env=variables, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}", began
    finally:
        # make leaves the gateway behind, which drains by itself.
        os.killpg(process.pid, signal.SIGTERM)
        await asyncio.wait_for(process.wait(), SECONDS)
        await until(lambda: not group_lives(process.pid), SECONDS, "the gateway has ended")


async def _serving(http: aiohttp.ClientSession, url: str) -> None:
    """Waits until requests are answered."""
    async with asyncio.timeout(SECONDS):
        while True:
            try:
                async with http.get(f"{url}/healthz"):
                    return
            except aiohttp.ClientError:
                await asyncio.sleep(POLL_SECONDS)


async def _read_until(http: aiohttp.ClientSession, url: str, text: bytes) -> None:
    """Reads a stream up to the line that has the text."""
    async with asyncio.timeout(SECONDS), http.get(url) as response:
        async for line in response.content:
            if text in line:
                return
