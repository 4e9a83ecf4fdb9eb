"""One connection to a server: an asyncio protocol that sends a request and parses its response, one at a time.

A connection is used again only after a response that arrived whole, with nothing behind it, to a request that was sent
whole, when neither side asked for its end. Whatever else a server does costs the connection.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

import httptools

from core_app.http1.errors import Disconnected, HttpClientError, ResponseInvalid
from core_app.http1.response import Response
from core_app.timeouts import running_loop

MAX_HEAD_BYTES = 64 * 1024
"""The limit for a response's head, for the trailers behind a body, and for a chunk's extensions."""

MAX_INTERIM = 16
"""The limit for interim responses (1xx) before the response itself."""

PIECE = 64 * 1024
"""Bytes of a body that are handed to the transport at once; what is larger waits for the server to take it."""

_NO_BODY = frozenset({204, 304})


class Connection(asyncio.Protocol):
    """A connection in one of three states: idle, busy with a response, or closed. `on_idle` is told when it may be used
    again, `on_lost` when it is gone. `tunnel` is True for the CONNECT of a proxy: its response has no body."""

    def __init__(self, on_idle: Callable[[Connection], None], on_lost: Callable[[Connection], None]) -> None:
        self._on_idle = on_idle
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._response: Response | None = None
        self._head: asyncio.Future[None] | None = None
        """Done when the response's head, or the end of the connection, has come."""
        self._headers: list[tuple[bytes, bytes]] = []
        self._counted = 0
        """Bytes of the head, trailers or chunk extensions that are being read."""
        self._interim = 0
        self._head_complete = self._until_close = self._complete = self._spoiled = self._touched = False
        self._tunnel = False
        self._sent = True
        self._can_write = True
        self._writable: asyncio.Future[None] | None = None
        self.closed = False
        self.idle_since = 0.0
        self.keep_alive_seconds: float | None = None
        """The time for which the server said that it keeps an idle connection."""

    @property
    def transport(self) -> asyncio.Transport:
        """The transport of an open connection."""
        assert self._transport is not None
        return self._transport

    async def request(self, head: bytes, body: bytes, *, tunnel: bool = False) -> Response:
        """Sends a request and returns its response, once the head of it is complete. Raises HttpClientError.

        A task that is cancelled meanwhile closes the connection.
        """
        if self.closed:
            raise Disconnected("The connection was closed.")
        self._response = response = Response(self)
        self._head = head_complete = running_loop().create_future()
        self._headers, self._counted, self._interim = [], 0, 0
        self._head_complete = self._until_close = self._complete = self._touched = False
        self._tunnel = tunnel
        try:
            await self._send(head, body)
            await head_complete
        except BaseException:
            # After a whole response the connection may already serve another request.
            if self._response is response:
                self.abort()
            raise
        return response

    def abort(self) -> None:
        """Closes the connection at once."""
        self.closed = True
        if self._transport is not None:
            self._transport.abort()

    def pause_reading(self) -> None:
        """Stops reading: nobody takes what has arrived."""
        if not self.closed:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Reads again."""
        if not self.closed:
            self.transport.resume_reading()

    async def _send(self, head: bytes, body: bytes) -> None:
        if len(body) <= PIECE:
            self.transport.write(head + body)
            return
        self._sent = False
        self.transport.write(head)
        view = memoryview(body)
        for start in range(0, len(body), PIECE):
            if not self._can_write:
                await self._wait_writable()
            if self.closed or self._head_complete:
                # A server that answers early does not want the rest.
                return
            self.transport.write(view[start : start + PIECE])
        self._sent = True

    async def _wait_writable(self) -> None:
        self._writable = running_loop().create_future()
        try:
            await self._writable
        finally:
            self._writable = None

    # -- the transport's callbacks -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's are no subclass.
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        self._can_write = False

    def resume_writing(self) -> None:
        self._can_write = True
        _wake(self._writable)

    def data_received(self, data: bytes) -> None:
        if self._response is None:
            # Nothing was asked.
            self.abort()
            return
        self._touched = True
        self._counted += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._spoiled = True
            self._fail(ResponseInvalid("The server changed the protocol."))
            return
        except httptools.HttpParserError:
            self._spoiled = True
            self._fail(ResponseInvalid("The response is no HTTP."))
            return
        if self._counted > MAX_HEAD_BYTES and not self._complete:
            self._fail(ResponseInvalid("The response's head is too long."))
        elif self._complete:
            self._leave()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._on_lost(self)
        if self._response is not None:
            self._end_response(exc)
        _wake(self._writable)
        # The parser refers to the connection, and the connection to it.
        del self._parser

    # -- the parser's callbacks ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            # A response that nobody asked for.
            self._spoiled = True

    def on_header(self, name: bytes, value: bytes | None) -> None:
        if self._head_complete:
            # A trailer.
            return
        self._headers.append((name.lower(), value or b""))

    def on_headers_complete(self) -> None:
        if self._complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self._interim += 1
            if status == 101 or self._interim > MAX_INTERIM:
                raise ResponseInvalid("The server sent interim responses only.")
            self._headers = []
            return
        response = self._response
        assert response is not None
        self._head_complete = True
        self._counted = 0
        response.status, response.headers = status, self._headers
        self._until_close = status not in _NO_BODY and _ends_with_connection(self._headers)
        if self._tunnel and status == 200:
            self._complete = True
            response.finish()
        _wake(self._head)
        if not self._sent:
            _wake(self._writable)

    def on_body(self, body: bytes) -> None:
        self._counted = 0
        if self._response is not None and not self._complete:
            self._response.feed(body)

    def on_message_complete(self) -> None:
        if not self._head_complete or self._complete:
            return
        self._complete = True
        if not self._parser.should_keep_alive():
            self._spoiled = True
        assert self._response is not None
        self._response.finish()

    # -- the end of a response -----------------------------------------------------------------------

    def _leave(self) -> None:
        """Gives the connection back after a whole response, or closes it."""
        self._response = None
        if self._tunnel and not self._spoiled:
            return
        if self._spoiled or not self._sent or self.closed:
            self.closed = True
            self.transport.close()
            return
        self.keep_alive_seconds = _keep_alive_seconds(self._headers)
        self._on_idle(self)

    def _fail(self, error: HttpClientError) -> None:
        """Ends the connection. A response that was complete before stays good."""
        if self._response is not None and not self._complete:
            self._response.set_exception(error)
            self._fail_head(error)
        self._response = None
        self.abort()

    def _end_response(self, cause: Exception | None) -> None:
        response, self._response = self._response, None
        assert response is not None
        if self._complete:
            return
        if self._head_complete and self._until_close and cause is None:
            response.finish()
            return
        error = ResponseInvalid("The response broke off.") if self._touched else Disconnected("No response came.")
        response.set_exception(error)
        self._fail_head(error)

    def _fail_head(self, error: HttpClientError) -> None:
        if self._head is not None and not self._head.done():
            self._head.set_exception(error)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


def _ends_with_connection(headers: list[tuple[bytes, bytes]]) -> bool:
    """True for a body without a length, which ends with the connection (RFC 9112, section 6.3)."""
    encodings = b",".join(value for name, value in headers if name == b"transfer-encoding")
    if encodings:
        return encodings.rpartition(b",")[2].strip().lower() != b"chunked"
    return all(name != b"content-length" for name, _ in headers)


def _keep_alive_seconds(headers: list[tuple[bytes, bytes]]) -> float | None:
    """Returns the `timeout` of a Keep-Alive header."""
    for name, value in headers:
        if name == b"keep-alive":
            for part in value.split(b","):
                key, _, number = part.strip().partition(b"=")
                if key.lower() == b"timeout" and number.isdigit() and len(number) < 7:
                    return float(number)
    return None
