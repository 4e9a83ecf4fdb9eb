"""Load for HTTP servers from raw protocols: requests written as bytes, responses read only to find their end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from functools import partial
from urllib.parse import urlsplit

END = b"0\r\n\r\n"
ERROR_BYTES = 500


@dataclass
class Load:
    """The result of a load, in seconds; `answers` counts the responses of all connections."""

    answers: int = 0
    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failed: int = 0
    error: str = ""
    """The beginning of the first failed response, or the error of its connection."""

    def fail(self, error: str) -> None:
        """Counts a failed response."""
        self.failed += 1
        self.error = self.error or error


class Connection(asyncio.Protocol):
    """A connection that repeats its request until the time `until`."""

    def __init__(self, request: bytes, load: Load, until: float, over: asyncio.Future[None]) -> None:
        self.request, self.load, self.until, self.over = request, load, until, over
        self.length: int | None = None
        self.read = b""
        self.finished = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.ask()

    def ask(self) -> None:
        self.began = time.perf_counter()
        self.read, self.length = b"", None
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if self.length is None:
            self.read += data
            head, mark, body = self.read.partition(b"\r\n\r\n")
            if not mark:
                return
            at = head.lower().find(b"content-length:")
            self.length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -1
            if not head.startswith(b"HTTP/1.1 200"):
                status = head.partition(b"\r\n")[0]
                self.load.fail(f"{status.decode('latin-1')} {body[:ERROR_BYTES].decode('utf-8', 'replace')}")
            self.read = body
        else:
            # The end of a stream may come in two pieces.
            self.read = self.read + data if self.length >= 0 else self.read[-len(END) :] + data
        if len(self.read) >= self.length if self.length >= 0 else self.read.endswith(END):
            self.count_response()

    def count_response(self) -> None:
        now = time.perf_counter()
        self.load.answers += 1
        self.load.latencies.append(now - self.began)
        if now < self.until:
            self.ask()
        else:
            self.finished = True
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.finished:
            self.load.fail(f"the connection was closed: {error!r}")
        if not self.over.done():
            self.over.set_result(None)


async def load(url: str, body: bytes, *, connections: int, seconds: float, key: str = "none") -> Load:
    """POSTs `body` over `connections` connections for `seconds`."""
    parts = urlsplit(url)
    request = (
        f"POST {parts.path} HTTP/1.1\r\nhost: {parts.netloc}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    ).encode() + body
    loop, found = asyncio.get_running_loop(), Load()
    began = time.perf_counter()
    ends: list[asyncio.Future[None]] = []
    for _ in range(connections):
        over = loop.create_future()
        ends.append(over)
        connect = partial(Connection, request, found, began + seconds, over)
        await loop.create_connection(connect, parts.hostname or "127.0.0.1", parts.port or 80)
    await asyncio.gather(*ends)
    found.seconds = time.perf_counter() - began
    return found
