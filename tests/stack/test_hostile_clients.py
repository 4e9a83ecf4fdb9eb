"""Raw sockets against a real server, without a proxy: what one client sends never keeps the others out."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.deploy.test_tls import certificate_write
from tests.stack.client import Client, until
from tests.stack.deployment import KEY, Deployment
from tests.stack.hostile_clients import ENDLESS_HEADS, FLOODS, flood_socket, half_open, send_endlessly
from tests.stack.process import SERVE, GatewayProcess

ENDLESS = 60 * 1024 * 1024
"""Bytes of an attack that nothing stops; the system's own buffers take a few million."""

GROWTH = 200 * 1024 * 1024
"""Memory that an attack may cost. It was two gigabytes for one connection."""

DESCRIPTORS = 200

POST = b"POST /healthz HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n"
HIDDEN = b"0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"
SMUGGLED = [
    POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n" + HIDDEN,
    CHUNKED + b"Content-Length: 4\r\n\r\n" + HIDDEN,
    POST + b"Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
    POST + b"Content-Length: +4\r\n\r\nabcd",
    POST + b"Content-Length: 4, 4\r\n\r\nabcd",
    POST + b"Content-Length: 0x4\r\n\r\nabcd",
    POST + b"Transfer-Encoding: xchunked\r\n\r\n" + HIDDEN,
    POST + b"Transfer-Encoding : chunked\r\n\r\n" + HIDDEN,
    POST + b"Transfer-Encoding: chunked, identity\r\n\r\n" + HIDDEN,
    CHUNKED + b"\r\n-1\r\na\r\n" + HIDDEN,
    CHUNKED + b"\r\nffffffffffffffffff\r\na\r\n" + HIDDEN,
    CHUNKED + b"\r\n1\r\nab\r\n" + HIDDEN,
    CHUNKED + b"\r\n1 \r\na\r\n" + HIDDEN,
    b"GET /healthz HTTP/1.1\r\nHost: h\r\n folded: header\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost : h\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: h\r\nX\x00: y\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: h\r\nHost: g\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nHost: a b\r\n\r\n",
    b"GET /healthz HTTP/3.9\r\nHost: h\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]
"""Requests that two servers in a row could read differently."""

MARKER = b"GET /readyz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


async def healthy(http: aiohttp.ClientSession, server: GatewayProcess) -> bool:
    """Asks /healthz on a connection of its own; False when it is refused or cut."""
    try:
        async with http.get(f"{server.url}/healthz", headers={"Connection": "close"}) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


@pytest.mark.timeout(600)
async def test_endless_heads_and_floods_of_frames_are_cut_off_at_little_cost(
    deployment: Deployment, process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    deployment.settings["SOCKET_MESSAGES_PER_MINUTE"] = "600"
    server = process()
    await server.start()
    await Client(http, server.url).create("flooded")
    assert await healthy(http, server)
    before = psutil.Process(server.pid).memory_info().rss
    for name, (start, piece) in ENDLESS_HEADS.items():
        sent, response = await send_endlessly(server.port, start, piece, ENDLESS)
        assert sent < ENDLESS, name
        assert response.split(b" ")[1] == (b"414" if name == "URL" else b"431"), name
    codes = {name: await flood_socket(server.port, "flooded", KEY, name, 20 * ENDLESS) for name in FLOODS}
    assert codes == dict.fromkeys(FLOODS, 1008)
    assert await healthy(http, server)
    assert psutil.Process(server.pid).memory_info().rss - before < GROWTH
    assert [line for line in server.log() if line["level"] == "error"] == []


@pytest.mark.timeout(600)
async def test_silent_connections_are_closed_and_never_keep_others_out(
    deployment: Deployment, process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    deployment.settings.update(HEAD_SECONDS="2", RESERVED_FILES="100")
    server = process()
    server.command = ("sh", "-c", f"ulimit -n {DESCRIPTORS}; exec {' '.join(SERVE)}")
    await server.start()
    async with half_open(server.port, 2 * DESCRIPTORS) as readers:
        # Some get 503; the longest waiting ones are closed for those that come.
        await until(lambda: healthy(http, server), 10, "a newcomer is served beside them")
        async with asyncio.timeout(60):
            answers = await asyncio.gather(*(reader.read() for reader in readers), return_exceptions=True)
    assert len(answers) == 2 * DESCRIPTORS
    assert await healthy(http, server)
    await until(lambda: psutil.Process(server.pid).num_fds() < DESCRIPTORS - 100, 10, "their descriptors are free")


@pytest.mark.timeout(600)
async def test_a_client_that_sends_no_tls_handshake_is_closed(
    deployment: Deployment, process: Callable[..., GatewayProcess], tmp_path: Path
) -> None:
    certificate_write(tmp_path)
    files = {"TLS_CERT_FILE": str(tmp_path / "server.crt"), "TLS_KEY_FILE": str(tmp_path / "server.key")}
    deployment.settings.update(HEAD_SECONDS="2", **files)
    server = process()
    server.spawn()
    await until(lambda: "answers on" in server.output(), 60, "the server listens")
    async with half_open(server.port, 3, b"\x16\x03") as readers, asyncio.timeout(50):
        # uvicorn's own time for a handshake is a minute.
        await asyncio.gather(*(reader.read() for reader in readers), return_exceptions=True)
    trusting = aiohttp.TCPConnector(ssl=False)
    async with (
        aiohttp.ClientSession(connector=trusting) as http,
        http.get(f"https://127.0.0.1:{server.port}/healthz") as answer,
    ):
        assert answer.status == 200


@pytest.mark.timeout(600)
async def test_requests_that_two_servers_could_read_differently_get_one_answer(
    process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    server = process()
    await server.start()
    for request in SMUGGLED:
        answer = await asked(server.port, request)
        statuses = re.findall(rb"HTTP/1\.1 (\d+)", answer)
        assert statuses[0] in (b"400", b"404", b"405"), (request, answer)
        # The connection is closed, or the next request on it is read as one.
        assert statuses[1:] in ([], [b"200"]), (request, answer)
        assert (b"database:" in answer) == (len(statuses) == 2), (request, answer)
    assert await healthy(http, server)


async def asked(port: int, request: bytes) -> bytes:
    """Sends a request, waits for the begin of its answer, and sends MARKER after it; returns all answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        async with asyncio.timeout(60):
            answer = await reader.read(65_536)
            with contextlib.suppress(OSError):
                writer.write(MARKER)
                answer += await reader.read(-1)
    finally:
        writer.transport.abort()
    return answer
