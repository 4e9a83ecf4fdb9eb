"""Requests that two servers could read differently, over raw sockets: one answer each, and nothing behind it is served.

tests/deploy/test_proxy.py has nginx in front.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.conftest import Caller
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import WAIT, GatewayHarness
from tests.shared_gateway import HERE, gateway, owner, tenant, transactional_db

__all__ = ["gateway", "owner", "tenant", "transactional_db"]

pytestmark = HERE

SECOND = b"GET /v1/sessions?smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"

CASES: dict[str, bytes] = {
    "length and chunked": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n" + SECOND,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 45\r\n\r\n" + SECOND,
    "list of lengths": POST + b"Content-Length: 0, 45\r\n\r\n" + SECOND,
    "negative length": POST + b"Content-Length: -1\r\n\r\n" + SECOND,
    "signed length": POST + b"Content-Length: +0\r\n\r\n" + SECOND,
    "hexadecimal length": POST + b"Content-Length: 0x0\r\n\r\n" + SECOND,
    "huge length": POST + b"Content-Length: 99999999999999999999999\r\n\r\n" + SECOND,
    "blank before the colon": POST + b"Content-Length : 0\r\n\r\n" + SECOND,
    "folded length": POST + b"Content-Length:\r\n 0\r\n\r\n" + SECOND,
    "other coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SECOND,
    "coding with a tab": POST + b"Transfer-Encoding:\tchunked, identity\r\n\r\n0\r\n\r\n" + SECOND,
    "two codings": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n" + SECOND,
    "quoted coding": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + SECOND,
    "folded coding": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n" + SECOND,
    "negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n\r\n" + SECOND,
    "chunk of no number": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n" + SECOND,
    "huge chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n" + SECOND,
    "chunk without its end": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\nAB\r\n0\r\n\r\n" + SECOND,
    "bare line feeds": b"POST /v1/sessions HTTP/1.1\nHost: x\nContent-Length: 0\n\n" + SECOND,
    "bare carriage return": b"POST /v1/sessions HTTP/1.1\rHost: x\r\nContent-Length: 0\r\n\r\n" + SECOND,
    "no version": b"GET /v1/sessions\r\n\r\n" + SECOND,
    "HTTP/2 by itself": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + SECOND,
    "upgrade to h2c": b"GET /v1/sessions HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" + SECOND,
    "upgrade with a body": POST + b"Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 45\r\n\r\n" + SECOND,
    "NUL in a name": b"GET /v1/sessions HTTP/1.1\r\nHost: x\r\nX\x00: 1\r\n\r\n" + SECOND,
    "two hosts": b"GET /v1/sessions HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n" + SECOND,
}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(gateway: GatewayHarness) -> AsyncIterator[LiveServer]:
    live = LiveServer()
    await live.start()
    yield live
    await live.stop()


async def answers(port: int, sent: bytes) -> list[int]:
    """Sends the bytes and the end of the stream; returns the status of every answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(WAIT):
            writer.write(sent)
            writer.write_eof()
            received = await reader.read()
    except ConnectionResetError:
        return []
    finally:
        writer.close()
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3})", received)]


async def test_there_are_as_many_cases_as_were_tried() -> None:
    assert len(CASES) == 27


@pytest.mark.parametrize("name", list(CASES))
async def test_what_can_be_read_in_two_ways_gets_no_second_answer(server: LiveServer, name: str, owner: Caller) -> None:
    """The second request is read as one only where the first was whole: then both were answered 4xx without a key."""
    found = await answers(server.port, CASES[name])
    assert all(400 <= status < 500 for status in found), found
    assert len(found) <= 2, found


@pytest.mark.parametrize("name", list(CASES))
async def test_no_key_of_one_request_counts_for_what_is_behind_it(server: LiveServer, name: str, owner: Caller) -> None:
    """With a key in the first request, nothing behind it is answered as if it had one."""
    keyed = CASES[name].replace(b"Host: x\r\n", b"Host: x\r\nX-API-Key: " + owner.secret.encode() + b"\r\n", 1)
    found = await answers(server.port, keyed)
    assert len(found) <= 2
    assert all(status != 200 for status in found[1:]), found
