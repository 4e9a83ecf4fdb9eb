"""Clients that attack a server by raw sockets, for tests and benchmarks."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side, State

HEAD = b"GET /healthz HTTP/1.1\r\nHost: here\r\n"
PIECE = 65_536

ENDLESS_HEADS = {
    "headers": (HEAD, b"ab:cd\r\n" * (PIECE // 7)),
    "header": (HEAD + b"X: ", b"a" * PIECE),
    "URL": (b"GET /", b"a" * PIECE),
}

FLOODS = {
    "pings": Frame(Opcode.PING, b"").serialize(mask=True),
    "pongs": Frame(Opcode.PONG, b"").serialize(mask=True),
    "empty fragments": Frame(Opcode.CONT, b"", False).serialize(mask=True),
    "small fragments": Frame(Opcode.CONT, b"ab", False).serialize(mask=True),
    "empty messages": Frame(Opcode.TEXT, b"").serialize(mask=True),
    "messages": Frame(Opcode.TEXT, b'{"action":"ping"}').serialize(mask=True),
    "messages of 1 MiB": Frame(Opcode.TEXT, b"[" + b"[]," * 349_500 + b"[]]").serialize(mask=True),
}

UPGRADE = (
    "GET /v1/sessions/{session}/ws HTTP/1.1\r\nHost: here\r\nX-API-Key: {key}\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@asynccontextmanager
async def half_open(port: int, count: int, sent: bytes = HEAD) -> AsyncIterator[list[asyncio.StreamReader]]:
    """Opens connections that send `sent` and then nothing."""
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(count)]
    try:
        for _, writer in connections:
            writer.write(sent)
        yield [reader for reader, _ in connections]
    finally:
        for _, writer in connections:
            writer.transport.abort()


async def send_endlessly(port: int, start: bytes, piece: bytes, most: int) -> tuple[int, bytes]:
    """Sends `start` and then `piece` again and again until the server closes; returns the bytes that were sent and the
    response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    sent, response = 0, b""
    answering = asyncio.create_task(_read_all(reader))
    try:
        writer.write(start)
        while sent < most and not answering.done():
            writer.write(piece)
            sent += len(piece)
            await writer.drain()
    except OSError:
        pass
    finally:
        response = await answering
        writer.transport.abort()
    return sent, response


async def post_in_pieces(port: int, path: str, body: bytes) -> bytes:
    """Sends a body in chunks of one byte, which need no key where the path needs none; returns the response."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answering = asyncio.create_task(_read_all(reader))
    head = f"POST {path} HTTP/1.1\r\nHost: here\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    with contextlib.suppress(OSError):
        writer.write(head.encode())
        for start in range(0, len(body), PIECE):
            writer.write(b"".join(b"1\r\n%c\r\n" % byte for byte in body[start : start + PIECE]))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
    response = await answering
    writer.transport.abort()
    return response


async def flood_socket(port: int, session: str, key: str, name: str, most: int) -> int | None:
    """Opens a session's socket and floods it with one kind of frame; returns the close code."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(UPGRADE.format(session=session, key=key).encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    answering = asyncio.create_task(_read_all(reader))
    frame = FLOODS[name]
    sent = 0
    with contextlib.suppress(OSError):
        if "fragments" in name:
            writer.write(Frame(Opcode.TEXT, b"begin", False).serialize(mask=True))
        while sent < most and not answering.done():
            writer.write(frame * max(1, PIECE // len(frame)))
            sent += max(PIECE, len(frame))
            await writer.drain()
    received = await answering
    writer.transport.abort()
    client = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
    client.receive_data(received)
    return client.close_rcvd.code if client.close_rcvd else None


async def _read_all(reader: asyncio.StreamReader) -> bytes:
    received = b""
    with contextlib.suppress(OSError):
        while chunk := await reader.read(PIECE):
            received += chunk
    return received
