"""A connection without a socket: what a protocol writes to its transport is kept, and the test calls its clock."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.server import ServerState

from gateway_project.process.connections import ConnectionTable, EdgeLimits
from gateway_project.process.http_protocol import LimitedHttpProtocol
from gateway_project.process.server import server_config
from gateway_project.process.socket_protocol import LimitedSocketProtocol

LIMITS = EdgeLimits(
    url_bytes=1000,
    headers=20,
    head_bytes=2000,
    head_seconds=15.0,
    idle=10,
    idle_per_address=4,
    descriptors=500,
    socket_frames=400,
    socket_messages=800,
)


def table_of(limits: EdgeLimits = LIMITS) -> ConnectionTable:
    """Returns a table with these limits, whose ticks are the test's."""
    table = ConnectionTable()
    table.limits = limits
    return table


class FakeSocket:
    def __init__(self, descriptor: int, peer: str) -> None:
        self._descriptor = descriptor
        self._peer = peer

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 4000

    def getpeername(self) -> tuple[str, int]:
        return self._peer, 50000

    def fileno(self) -> int:
        return self._descriptor


class FakeTransport(asyncio.Transport):
    """Keeps what is written. `close` tells the protocol at the loop's next turn, as real ones do."""

    def __init__(self, protocol: Any, *, peer: str = "203.0.113.7", descriptor: int = 20) -> None:
        super().__init__({"socket": FakeSocket(descriptor, peer)})
        self.protocol = protocol
        self.written = b""
        self.reading = True
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(lambda: self.protocol.connection_lost(None))

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    @property
    def statuses(self) -> list[int]:
        """The statuses of the responses that were written."""
        return [int(line.split()[1]) for line in self.written.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


def connect(
    application: Any, table: ConnectionTable, *, peer: str = "203.0.113.7", descriptor: int = 20
) -> tuple[LimitedHttpProtocol, FakeTransport]:
    """Returns a new connection to `application`."""
    config = server_config(application)
    config.load()

    class Sockets(LimitedSocketProtocol):
        pass

    Sockets.table = table
    config.ws_protocol_class = Sockets
    protocol = LimitedHttpProtocol(config, ServerState(), {}, asyncio.get_running_loop(), table=table)
    transport = FakeTransport(protocol, peer=peer, descriptor=descriptor)
    protocol.connection_made(transport)
    return protocol, transport


async def turns(count: int = 10) -> None:
    """Lets the loop run what is ready."""
    for _ in range(count):
        await asyncio.sleep(0)
