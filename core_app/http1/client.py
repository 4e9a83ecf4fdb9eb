"""The client of one event loop: it sends requests over connections that it keeps and opens.

No redirects, no cookies, no retries, and nothing decoded: the relay decides about all of these.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence

import aiohappyeyeballs

from core_app.http1.connection import Connection
from core_app.http1.errors import ConnectFailed, ConnectTimedOut, HttpClientError, TlsFailed
from core_app.http1.resolver import Address, Resolver
from core_app.http1.response import Response
from core_app.http1.target import Origin, Proxy, Target
from core_app.timeouts import Deadline

KEEPALIVE_SECONDS = 30.0
"""An idle connection is used again within this time, or within a second less than the server promised."""

SWEEP_SECONDS = 10.0
"""Idle connections are closed this much later at the latest."""

MAX_IDLE = 1024
"""Idle connections to one origin; further ones are closed after their response."""

EYEBALLS_SECONDS = 0.25
"""The wait for an address before the next one is tried beside it (RFC 8305)."""


class Client:
    """Connections by origin. `tls` is the context for https, the system's certificates without one."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._tls = tls
        self._resolver = Resolver(self._loop)
        self._idle: dict[Origin, list[Connection]] = {}
        self._all: set[Connection] = set()
        self._sweep: asyncio.TimerHandle | None = None
        self.closed = False

    async def post(self, target: Target, body: bytes, *, headers: bytes = b"", connect_seconds: float) -> Response:
        """Sends a POST and returns its response with the body still to be read; the caller closes it. `headers` are
        lines with their ends (`header_line`). Raises HttpClientError; nothing was sent with a ConnectFailed."""
        if self.closed:
            raise ConnectFailed("The client is closed.")
        connection = self._take_idle(target.origin)
        if connection is None:
            connection = await self._connect(target.origin, connect_seconds)
        head = b"%b%bContent-Length: %d\r\n\r\n" % (target.head, headers, len(body))
        return await connection.request(head, body)

    def close(self) -> None:
        """Closes all connections; responses that are being read fail."""
        self.closed = True
        self._idle.clear()
        if self._sweep is not None:
            self._sweep.cancel()
            self._sweep = None
        for connection in tuple(self._all):
            connection.abort()

    # -- idle connections ----------------------------------------------------------------------------

    def _take_idle(self, origin: Origin) -> Connection | None:
        idle = self._idle.get(origin)
        while idle:
            connection = idle.pop()
            if not connection.closed and not self._is_stale(connection):
                return connection
            connection.abort()
        return None

    def _is_stale(self, connection: Connection) -> bool:
        promised = connection.keep_alive_seconds
        seconds = KEEPALIVE_SECONDS if promised is None else min(KEEPALIVE_SECONDS, promised - 1)
        return self._loop.time() - connection.idle_since >= seconds

    def _keep(self, origin: Origin, connection: Connection) -> None:
        idle = self._idle.setdefault(origin, [])
        if self.closed or len(idle) >= MAX_IDLE:
            connection.abort()
            return
        connection.idle_since = self._loop.time()
        idle.append(connection)
        if self._sweep is None:
            self._sweep = self._loop.call_later(SWEEP_SECONDS, self._close_stale)

    def _close_stale(self) -> None:
        self._sweep = None
        for origin, idle in tuple(self._idle.items()):
            for connection in [each for each in idle if self._is_stale(each)]:
                idle.remove(connection)
                connection.abort()
            if not idle:
                del self._idle[origin]
        if self._idle:
            self._sweep = self._loop.call_later(SWEEP_SECONDS, self._close_stale)

    def _forget(self, origin: Origin, connection: Connection) -> None:
        self._all.discard(connection)
        idle = self._idle.get(origin)
        if idle is not None and connection in idle:
            idle.remove(connection)

    # -- new connections -----------------------------------------------------------------------------

    async def _connect(self, origin: Origin, seconds: float) -> Connection:
        try:
            async with Deadline(seconds):
                return await self._open(origin)
        except TimeoutError:
            raise ConnectTimedOut(f"No connection to {origin.host} within {seconds:g} s.") from None
        except ssl.SSLError as error:
            raise TlsFailed(f"TLS with {origin.host} failed: {_reason(error)}.") from error
        except (OSError, RuntimeError) as error:
            raise ConnectFailed(f"{origin.host}:{origin.port} cannot be reached.") from error

    async def _open(self, origin: Origin) -> Connection:
        proxy = origin.proxy
        host, port = (origin.host, origin.port) if proxy is None else (proxy.host, proxy.port)
        addresses = await self._resolver.addresses(host, port)
        try:
            sock = await self._reach(addresses)
        except OSError:
            self._resolver.forget(host, port)
            raise
        connection = Connection(lambda made: self._keep(origin, made), lambda lost: self._forget(origin, lost))
        self._all.add(connection)
        try:
            if proxy is None:
                tls = self._context() if origin.tls else None
                await self._loop.create_connection(
                    lambda: connection, sock=sock, ssl=tls, server_hostname=origin.host if tls else None
                )
            else:
                await self._loop.create_connection(lambda: connection, sock=sock)
                if origin.tls:
                    return await self._tunnel(origin, proxy, connection)
        except BaseException:
            sock.close()
            connection.abort()
            self._all.discard(connection)
            raise
        return connection

    async def _tunnel(self, origin: Origin, proxy: Proxy, outer: Connection) -> Connection:
        """Asks the proxy for a connection to the origin, and starts TLS in it."""
        lines = [b"CONNECT %b HTTP/1.1" % origin.authority, b"Host: " + origin.authority]
        if proxy.authorization is not None:
            lines.append(b"Proxy-Authorization: " + proxy.authorization)
        try:
            response = await outer.request(b"\r\n".join(lines) + b"\r\n\r\n", b"", tunnel=True)
        except HttpClientError as error:
            raise ConnectFailed(f"The proxy {proxy.host} did not answer.") from error
        if response.status != 200:
            raise ConnectFailed(f"The proxy {proxy.host} refused the connection with status {response.status}.")
        inner = Connection(lambda made: self._keep(origin, made), lambda lost: self._forget(origin, lost))
        transport = await self._loop.start_tls(outer.transport, inner, self._context(), server_hostname=origin.host)
        if transport is None:
            raise ConnectFailed(f"The proxy {proxy.host} closed the connection.")
        inner.connection_made(transport)
        self._all.discard(outer)
        self._all.add(inner)
        return inner

    async def _reach(self, addresses: Sequence[Address]) -> socket.socket:
        return await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=EYEBALLS_SECONDS, interleave=1, loop=self._loop
        )

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls


def _reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was refused ({error.verify_message})"
    return error.reason or "the server speaks no TLS"
