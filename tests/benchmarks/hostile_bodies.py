"""The longest wait of another client while one sends the bodies that cost most, with a key and without.

The peak of memory for the same bodies is a test: `tests.stack.test_body_memory`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from pathlib import Path

import aiohttp

from tests.benchmarks.figures import Figure
from tests.benchmarks.serving import deployment, reference, running_server
from tests.stack.client import Client
from tests.stack.deployment import KEY
from tests.stack.hostile_bodies import MEBIBYTE, Wire
from tests.stack.process import GatewayProcess
from tests.stack.test_body_memory import CONFIG, PATHS, WIRES

POSTERS = 24
IDLE_SECONDS = 3.0
PAUSE = 0.005
BUDGET = 250.0
"""Milliseconds that another client may wait for its /healthz."""

KEYLESS = [
    Wire("/v1/callbacks/0123456789abcdefghij", b'"error":0', MEBIBYTE, b'"result":', ("arrays", "texts", "a text")),
    Wire("/admin/login/", b'"username":"a"', MEBIBYTE, shapes=("arrays", "a text")),
    Wire("/v1/chat/completions", b'"model":"chat:m"', MEBIBYTE, shapes=("arrays", "a text")),
]


async def measure() -> AsyncIterator[Figure]:
    with deployment(RATE_LIMIT_RPM="0") as state:
        assert state is not None
        async with (
            reference("sink_provider", core=1) as provider,
            aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http,
        ):
            limits = ", ".join(f'"/v1/{path}": {{rpm: 100000}}' for path in PATHS)
            config = Path(state.directory) / "gateway.yaml"
            config.write_text(CONFIG.format(url=provider.url, limits=limits), encoding="utf-8")
            state.settings["CONFIG"] = str(config)
            async with running_server(state) as gateway:
                await Client(http, gateway.url).create("s")
                idle = await longest_wait(http, gateway, lambda: asyncio.sleep(IDLE_SECONDS))
                for name, wires in {**WIRES, f"without a key, {POSTERS} at once": KEYLESS}.items():
                    longest, worst = 0.0, ""
                    posters = 1 if wires is not KEYLESS else POSTERS
                    for wire in wires:
                        for shape, body in wire.bodies():
                            sent = sender(http, gateway, wire, body, posters, with_key=wires is not KEYLESS)
                            waited = await longest_wait(http, gateway, sent)
                            longest, worst = max((longest, worst), (waited, f"{wire.path}, {shape}"))
                    yield Figure(f"bodies {name}", longest, "ms", idle, f"idle; the worst is {worst}", BUDGET)


def sender(
    http: aiohttp.ClientSession, gateway: GatewayProcess, wire: Wire, body: bytes, posters: int, *, with_key: bool
) -> Callable[[], Awaitable[None]]:
    """Returns a function that sends the body from so many clients at once."""
    headers = {"Content-Type": "application/json", **({"X-API-Key": KEY} if with_key else {})}

    async def post() -> None:
        try:
            async with http.post(gateway.url + wire.path, data=BytesIO(body), headers=headers) as response:
                await response.read()
        except aiohttp.ClientError:
            # Refused while it still sent.
            return

    async def post_all() -> None:
        await asyncio.gather(*(post() for _ in range(posters)))

    return post_all


async def longest_wait(
    http: aiohttp.ClientSession, gateway: GatewayProcess, work: Callable[[], Awaitable[None]]
) -> float:
    """Returns the longest time for /healthz while the work goes on, in milliseconds."""
    longest = 0.0
    working = asyncio.ensure_future(work())
    while not working.done():
        began = time.perf_counter()
        async with http.get(f"{gateway.url}/healthz") as response:
            await response.read()
        longest = max(longest, time.perf_counter() - began)
        await asyncio.sleep(PAUSE)
    await working
    return longest * 1000
