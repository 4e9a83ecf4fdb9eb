"""Responses of well-behaved and of hostile servers: what is read of them, what is refused, what is kept open."""

from __future__ import annotations

import asyncio

import pytest

from core_app.http1 import Client, Disconnected, ResponseInvalid
from core_app.http1.connection import MAX_HEAD_BYTES, MAX_INTERIM
from core_app.http1.response import HIGH_WATER
from tests.core.http1.asking import ask, target
from tests.core.http1.raw_server import OK, Peer, always, once, once_open, raw_server

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
REUSED = {
    "length": OK,
    "no bytes": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "chunked": CHUNKED + b"1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "an error": b"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\nok",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK,
    "trailers": CHUNKED + b"2\r\nok\r\n0\r\nX-Sum: 1\r\n\r\n",
    "chunk extensions": CHUNKED + b"2;a=b;c\r\nok\r\n0;last\r\n\r\n",
    "keep-alive of 1.0": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    "no reason": b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok",
}
CLOSED = {
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "garbage behind": OK + b"more",
    "another response behind": OK + OK,
}
INVALID = {
    "no HTTP": b"SSH-2.0-OpenSSH\r\n\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x46",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
    "length and chunks": CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    "no size of a chunk": CHUNKED + b"zz\r\nok\r\n0\r\n\r\n",
    "huge size of a chunk": CHUNKED + b"fffffffffffffffff\r\nok\r\n0\r\n\r\n",
    "chunk longer than its size": CHUNKED + b"1\r\nok\r\n0\r\n\r\n",
    "folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "interim without end": b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1) + OK,
    "huge header": b"HTTP/1.1 200 OK\r\nX: " + b"a" * (MAX_HEAD_BYTES + 1),
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * (MAX_HEAD_BYTES // 6 + 1),
    "huge reason": b"HTTP/1.1 200 " + b"a" * (MAX_HEAD_BYTES + 1),
    # Counted from the read behind that in which the head ended.
    "huge chunk extension": CHUNKED + b"2;" + b"a" * (16 * MAX_HEAD_BYTES),
    "huge trailers": CHUNKED + b"2\r\nok\r\n0\r\n" + b"X: a\r\n" * (3 * MAX_HEAD_BYTES),
}
CUT = {
    "in the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "in the body": b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
    "in a chunk": CHUNKED + b"3\r\nok",
    "before the last chunk": CHUNKED + b"2\r\nok\r\n",
    "after an interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
}


@pytest.mark.parametrize("answer", REUSED.values(), ids=REUSED)
async def test_a_connection_is_used_again_after_a_whole_response(client: Client, answer: bytes) -> None:
    async with raw_server(always(answer)) as server:
        for _ in range(3):
            found = await ask(client, server.url)
            assert found.body in (b"ok", b"")
            assert all(name != b"x-sum" for name, _ in found.headers)
    assert server.connections == 1


@pytest.mark.parametrize("answer", CLOSED.values(), ids=CLOSED)
async def test_a_connection_that_is_not_to_be_trusted_again_is_closed(client: Client, answer: bytes) -> None:
    async with raw_server(once_open(answer)) as server:
        for count in (1, 2):
            assert (await ask(client, server.url)).body == b"ok"
            assert server.connections == count


@pytest.mark.parametrize("answer", INVALID.values(), ids=INVALID)
async def test_a_response_that_is_no_http_is_an_error_and_costs_the_connection(client: Client, answer: bytes) -> None:
    async with raw_server(once_open(answer)) as server:
        with pytest.raises(ResponseInvalid):
            await ask(client, server.url)
        with pytest.raises(ResponseInvalid):
            await ask(client, server.url)
    assert server.connections == 2


@pytest.mark.parametrize("answer", CUT.values(), ids=CUT)
async def test_a_response_that_breaks_off_is_an_error(client: Client, answer: bytes) -> None:
    async with raw_server(once(answer)) as server:
        with pytest.raises(ResponseInvalid):
            await ask(client, server.url)


async def test_no_response_is_told_from_a_broken_one(client: Client) -> None:
    async with raw_server(once()) as server:
        with pytest.raises(Disconnected):
            await ask(client, server.url)


@pytest.mark.parametrize("head", [b"", b"Transfer-Encoding: gzip\r\n", b"Connection: close\r\n"])
async def test_a_body_without_a_length_ends_with_the_connection(client: Client, head: bytes) -> None:
    async with raw_server(once(b"HTTP/1.1 200 OK\r\n" + head + b"\r\n", b"o", b"k")) as server:
        assert (await ask(client, server.url)).body == b"ok"


@pytest.mark.parametrize("answer", [*REUSED.values(), *CLOSED.values()], ids=[*REUSED, *CLOSED])
async def test_a_response_is_the_same_in_single_bytes(client: Client, answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        for place in range(len(answer)):
            await peer.send(answer[place : place + 1])
            await asyncio.sleep(0)
        await peer.ended()

    async with raw_server(always(answer)) as server:
        whole = await ask(client, server.url)
    async with raw_server(script) as server:
        assert await ask(client, server.url) == whole


async def test_headers_are_read_by_name_and_several_are_joined(client: Client) -> None:
    answer = b"HTTP/1.1 429 Slow\r\nRetry-After:  3 \r\nX-A: 1\r\nx-a: \xe9\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(always(answer)) as server:
        response = await client.post(target(server.url), b"", connect_seconds=30.0)
    assert (response.status, response.content_length) == (429, 0)
    assert (response.header(b"retry-after"), response.header(b"x-a"), response.header(b"x-b")) == ("3", "1, é", None)


async def test_a_body_over_the_limit_is_not_read_to_its_end(client: Client) -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 4000000\r\n\r\n" + b"a" * 1_000_000
    async with raw_server(once_open(answer)) as server:
        response = await client.post(target(server.url), b"", connect_seconds=30.0)
        assert len(await response.read(1000)) > 1000
        response.close()
        await ask_again(client, server.url)
    assert server.connections == 2


async def ask_again(client: Client, url: str) -> None:
    """Opens another response and leaves it."""
    response = await client.post(target(url), b"", connect_seconds=30.0)
    response.close()


async def test_a_server_waits_for_a_reader_who_does_not_read(client: Client) -> None:
    total, written = 64 * 1024 * 1024, 0

    async def script(peer: Peer) -> None:
        nonlocal written
        await peer.request()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % total)
        for _ in range(total // 65536):
            await peer.send(b"a" * 65536)
            written += 65536
        await peer.ended()

    async with raw_server(script) as server:
        response = await client.post(target(server.url), b"", connect_seconds=30.0)
        still = -1
        # The sockets' buffers fill, and then nothing moves.
        while still != written:
            still = written
            for _ in range(200):
                await asyncio.sleep(0)
        assert written < total / 2
        size = 0
        while data := await response.readany():
            assert len(data) <= HIGH_WATER + 1024 * 1024
            size += len(data)
        assert size == total


async def test_a_connection_that_was_paused_serves_the_next_request(client: Client) -> None:
    long = b"a" * (2 * HIGH_WATER)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(long) + long
    async with raw_server(always(answer)) as server:
        first = await client.post(target(server.url), b"", connect_seconds=30.0)
        body = await first.read(len(long))
        assert body == long
        assert (await ask(client, server.url)).body == long
        assert server.connections == 1


async def test_an_error_set_from_outside_reaches_the_reader_after_what_came(client: Client) -> None:
    async with raw_server(once_open(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok")) as server:
        response = await client.post(target(server.url), b"", connect_seconds=30.0)
        assert await response.readany() == b"ok"
        response.set_exception(TimeoutError("silent"))
        with pytest.raises(TimeoutError, match="silent"):
            await response.readany()
        response.close()
