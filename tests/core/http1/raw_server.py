"""A server that sends any bytes it is told to: each connection runs a script over a plain asyncio stream."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

Script = Callable[["Peer"], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


class Peer:
    """One connection as the server sees it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def request(self) -> tuple[bytes, bytes]:
        """Returns the head and the body of the next request; IncompleteReadError at the end of the connection."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        lengths = [
            line.partition(b":")[2] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
        ]
        return head, await self.reader.readexactly(int(lengths[0]) if lengths else 0)

    async def send(self, data: bytes) -> None:
        """Sends bytes."""
        self.writer.write(data)
        await self.writer.drain()

    async def ended(self) -> None:
        """Waits until the client has closed the connection."""
        with suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


class RawServer:
    """The server's port, and the number of connections that it has accepted."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.port = 0
        self.connections = 0
        self.failures: list[BaseException] = []
        self._writers: list[asyncio.StreamWriter] = []
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/ask?x=1"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._script(Peer(reader, writer))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except Exception as error:  # shown by the test
            self.failures.append(error)
        finally:
            self._tasks.discard(task)
            writer.close()

    async def end(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        while self._tasks:
            await asyncio.wait(self._tasks)


@asynccontextmanager
async def raw_server(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[RawServer]:
    """Serves on a free port; fails when a script did."""
    raw = RawServer(script)
    server = await asyncio.start_server(raw.serve, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
    raw.port = server.sockets[0].getsockname()[1]
    try:
        yield raw
    finally:
        server.close()
        await raw.end()
    assert not raw.failures, raw.failures


def always(answer: bytes) -> Script:
    """Returns a script that answers every request of a connection with the same bytes."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(answer)

    return script


def once(*pieces: bytes) -> Script:
    """Returns a script that sends the pieces after the first request, and then closes the connection."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in pieces:
            await peer.send(piece)

    return script


def once_open(*pieces: bytes) -> Script:
    """Returns a script that does the same, and leaves the connection open until the client closes it."""

    async def script(peer: Peer) -> None:
        await once(*pieces)(peer)
        await peer.ended()

    return script
