"""RPC requests on sockets: `heartbeat` of the Agentbus protocol, on one connection and on 1,000, beside a bare echo.

Each connection waits for the response before it sends the next request. Rates are per second of the server's processor
time, so that the client's own cost does not count. The gateway and the echo server take turns, with the same client on
the same core, and the median of the rounds counts: a busy machine slows both.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import psutil
from websockets.asyncio.client import ClientConnection, connect

from tests.benchmarks.figures import Figure, percentile
from tests.benchmarks.serving import deployment, reference, running_server
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

REQUESTS = 10_000
ROUNDS = 3
CONNECTIONS = (1, 1000)
CONNECTING = 50
PATIENCE = 120.0
FRAME = '{"type":"req","id":1,"method":"heartbeat","params":{}}'

Prepare = Callable[[ClientConnection], Awaitable[None]]


@dataclass(frozen=True)
class Measured:
    """Requests per second of the server's processor time, and the seconds that each took."""

    per_cpu_second: float
    seconds: list[float]


async def measure() -> AsyncIterator[Figure]:
    for count in CONNECTIONS:
        rounds = [(await gateway_round(count), await echo_round(count)) for _ in range(ROUNDS)]
        name = f"RPC, {count:,} connection{'s' if count > 1 else ''}"
        found, beside = (median(each[side].per_cpu_second for each in rounds) for side in (0, 1))
        share = median(mine.per_cpu_second / bare.per_cpu_second for mine, bare in rounds)
        yield Figure(name, found, "per CPU s", beside, "bare echo", better="higher")
        yield Figure(f"{name}: share of bare", share, "", None, "", 0.4, better="higher")
        for part in (0.5, 0.99):
            mine, bare_ms = (median(percentile(each[side].seconds, part) for each in rounds) * 1000 for side in (0, 1))
            yield Figure(f"{name}, p{part * 100:.0f}", mine, "ms", bare_ms, "bare echo")


async def gateway_round(count: int) -> Measured:
    """Measures a gateway of its own with so many connections."""
    with deployment(
        MAX_CONNECTIONS=str(max(CONNECTIONS)), RATE_LIMIT_RPM="0", SOCKET_MESSAGES_PER_MINUTE="10000000"
    ) as state:
        assert state is not None
        async with running_server(state) as server:
            return await requests(server, "/rpc", count, lambda socket: sign_in(socket, KEY))


async def echo_round(count: int) -> Measured:
    """Measures the bare echo server with as many."""
    async with reference("bare_echo") as bare:
        return await requests(bare, "/", count, nothing)


async def requests(server: GatewayProcess, path: str, connections: int, prepare: Prepare) -> Measured:
    """Sends REQUESTS over so many connections, after each has sent one."""
    address = server.url.replace("http", "ws") + path
    sockets: list[ClientConnection] = []
    async with asyncio.timeout(PATIENCE):
        for start in range(0, connections, CONNECTING):
            part = range(start, min(connections, start + CONNECTING))
            sockets += await asyncio.gather(*(open_socket(address, prepare) for _ in part))
        process = psutil.Process(server.pid)
        seconds: list[float] = []
        await asyncio.gather(*(ask(socket, 1, []) for socket in sockets))
        before = cpu_seconds(process)
        await asyncio.gather(*(ask(socket, REQUESTS // connections, seconds) for socket in sockets))
        spent = cpu_seconds(process) - before
        await asyncio.gather(*(socket.close() for socket in sockets))
    return Measured(REQUESTS / spent, seconds)


async def open_socket(address: str, prepare: Prepare) -> ClientConnection:
    socket = await connect(address, compression=None, proxy=None, max_size=None)
    await prepare(socket)
    return socket


async def sign_in(socket: ClientConnection, key: str) -> None:
    await socket.recv()
    params = {"client_id": "bench", "client_name": "bench", "auth_token": key}
    await socket.send(json.dumps({"type": "req", "id": 0, "method": "connect", "params": params}))
    await response(socket)


async def nothing(socket: ClientConnection) -> None:
    """Prepares nothing."""


async def ask(socket: ClientConnection, count: int, seconds: list[float]) -> None:
    for _ in range(count):
        began = time.perf_counter()
        await socket.send(FRAME)
        await response(socket)
        seconds.append(time.perf_counter() - began)


async def response(socket: ClientConnection) -> Any:
    """Returns the next frame that is no event."""
    while True:
        frame = await socket.recv()
        if not str(frame).startswith('{"type":"event"'):
            return frame


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)
