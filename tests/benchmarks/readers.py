"""Followers that cost the measuring process next to nothing: chunks are kept with their time and parsed afterwards."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Sequence
from urllib.parse import urlsplit

from tests.stack.deployment import KEY

STAMP = re.compile(rb'"delta":"(\d{12,}) "')
EVENT = b"\nevent: "
ENDS = (b"event: agent_end\n", b"event: agent_abort\n")


class Reader(asyncio.Protocol):
    """One connection that follows one path."""

    def __init__(self, path: str, *, keep: bool = True) -> None:
        self.chunks: list[tuple[int, bytes]] = []
        self.bytes = self.events = 0
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.transport: asyncio.Transport | None = None
        self.path = path
        self._keep = keep

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(f"GET {self.path} HTTP/1.1\r\nHost: here\r\nX-API-Key: {KEY}\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self.opened.done():
            self.opened.set_result(None)
        if self._keep:
            self.chunks.append((now, data))
        self.events += data.count(EVENT)
        if any(end in data for end in ENDS) and not self.over.done():
            self.over.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        for waited in (self.opened, self.over):
            if not waited.done():
                waited.set_exception(ConnectionError("the server closed the connection"))
                waited.exception()

    def latencies_ms(self) -> list[float]:
        """Returns the latency of each stamped word, in milliseconds."""
        found = []
        for at, data in self.chunks:
            found += [(at - int(stamp)) / 1e6 for stamp in STAMP.findall(data)]
        return found


async def read(url: str, paths: Sequence[str], *, keep: bool = True, at_once: int = 100) -> list[Reader]:
    """Returns a connected reader for each path, after its response has begun."""
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    loop = asyncio.get_running_loop()
    gate = asyncio.Semaphore(at_once)

    async def one(path: str) -> Reader:
        async with gate:
            _, reader = await loop.create_connection(lambda: Reader(path, keep=keep), host, port)
            await reader.opened
            return reader

    return list(await asyncio.gather(*map(one, paths)))


def close(readers: Sequence[Reader]) -> None:
    for reader in readers:
        if reader.transport is not None:
            reader.transport.abort()
