"""The slowest `GET /healthz` of another client beside an attack by raw sockets, and the cost of the limits per request.

The attacks are those of tests/stack, which shows that they are cut off; this measures what others wait meanwhile.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from gateway_project.process.connections import EdgeLimits
from gateway_project.process.http_protocol import LimitedHttpProtocol
from gateway_project.process.server import server_config
from tests.benchmarks.figures import Figure
from tests.benchmarks.serving import deployment, running_server
from tests.process.transport import FakeTransport, table_of
from tests.stack.client import Client
from tests.stack.deployment import KEY
from tests.stack.hostile_clients import ENDLESS_HEADS, FLOODS, flood_socket, half_open, post_in_pieces, send_endlessly

HALF_OPEN = 1000
MOST = 60 * 1024 * 1024
ATTACKERS = 4
POSTERS = 24
PIECES = 256 * 1024
BUDGET_MS = 250
QUIET_SECONDS = 2.0
REQUESTS = 20_000
ROUNDS = 5
REQUEST = (
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: gateway.example\r\nUser-Agent: client/1.0\r\nAccept: */*\r\n"
    b"Accept-Encoding: gzip\r\nAuthorization: Bearer agw_0123456789\r\nContent-Type: application/json\r\n"
    b"Content-Length: 2\r\n\r\n{}"
)


async def measure() -> AsyncIterator[Figure]:
    for distributed in (False, True):
        with deployment(distributed=distributed) as state:
            if state is None:
                continue
            async with running_server(state) as server, aiohttp.ClientSession() as http:
                await Client(http, server.url).create("flooded")
                where = "distributed" if distributed else "embedded"
                quiet = await slowest_ms(http, server.url, lambda: asyncio.sleep(QUIET_SECONDS))
                for name, attack in attacks(server.port).items():
                    slowest = await slowest_ms(http, server.url, attack)
                    yield Figure(f"/healthz beside {name}, {where}", slowest, "ms", quiet, "no attack", BUDGET_MS)
    ours, uvicorns = await protocol_microseconds()
    yield Figure("a request through the HTTP protocol", ours, "µs", uvicorns, "uvicorn's own", 1.3 * uvicorns)


def attacks(port: int) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Returns the attacks by name; each ends when the server has cut it off."""

    async def silent() -> None:
        async with half_open(port, HALF_OPEN):
            await asyncio.sleep(QUIET_SECONDS)

    def endless(start: bytes, piece: bytes) -> Callable[[], Awaitable[Any]]:
        return lambda: asyncio.gather(*(send_endlessly(port, start, piece, MOST) for _ in range(ATTACKERS)))

    def flood(name: str) -> Callable[[], Awaitable[Any]]:
        return lambda: asyncio.gather(*(flood_socket(port, "flooded", KEY, name, MOST) for _ in range(ATTACKERS)))

    async def in_pieces() -> None:
        await asyncio.gather(*(post_in_pieces(port, "/admin/login/", b"a" * PIECES) for _ in range(POSTERS)))

    heads = {f"{ATTACKERS} endless heads, {name}": endless(*pieces) for name, pieces in ENDLESS_HEADS.items()}
    floods = {f"{ATTACKERS} floods of {name}": flood(name) for name in FLOODS}
    crowds = {f"{HALF_OPEN} half-open connections": silent, f"{POSTERS} bodies in pieces of a byte": in_pieces}
    return {**crowds, **heads, **floods}


async def slowest_ms(http: aiohttp.ClientSession, url: str, attack: Callable[[], Awaitable[Any]]) -> float:
    """Asks /healthz again and again during the attack; returns the longest wait."""
    ending = asyncio.ensure_future(attack())
    slowest = 0.0
    while True:
        began = time.perf_counter()
        async with http.get(f"{url}/healthz") as answer:
            assert answer.status == 200
        slowest = max(slowest, time.perf_counter() - began)
        if ending.done():
            await ending
            return slowest * 1000
        await asyncio.sleep(0.01)


async def protocol_microseconds() -> tuple[float, float]:
    """Returns the processor time of a request through our protocol and through uvicorn's, the best of alternating
    rounds."""
    ours, uvicorns = [], []
    for _ in range(ROUNDS):
        ours.append(await _request_microseconds(_limited))
        uvicorns.append(await _request_microseconds(HttpToolsProtocol))
    return min(ours), min(uvicorns)


async def _request_microseconds(make: Callable[..., Any]) -> float:
    config = server_config(_answer)
    config.load()
    protocol = make(config, ServerState(), {}, asyncio.get_running_loop())
    transport = FakeTransport(protocol)
    protocol.connection_made(transport)
    began = time.thread_time()
    for _ in range(REQUESTS):
        protocol.data_received(REQUEST)
        await asyncio.sleep(0)
        transport.written = b""
    return (time.thread_time() - began) / REQUESTS * 1e6


def _limited(*arguments: Any) -> LimitedHttpProtocol:
    return LimitedHttpProtocol(*arguments, table=table_of(EdgeLimits.from_settings()))


async def _answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"{}"})
