"""The HTTP protocol between the server and the application: uvicorn's, with limits of its own.

uvicorn's httptools protocol bounds neither the size of a request's head nor the time that it takes. Here a head is
refused (414, 431) at the first byte, header or second too many, before more of it is kept, and the connection is
closed. docs/operating.md, "Limits", lists the limits. The application bounds bodies.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from edge_app.http.asgi import CLIENT_KNOWN
from gateway_project.process.connections import CONNECTIONS, ConnectionTable, peer_group

MAX_PIPELINED = 32
"""Requests that wait behind the one that is being served. One read may contain thousands, each of which takes memory
before the first response; clients that pipeline at all send a few."""

LINGER_SECONDS = 1.0
"""A refused connection is closed this long after its response, and not read meanwhile. Closing at once would discard
the response, too, when the client is still sending."""

SLICE_BYTES = 4096
TURN_PIECES = 100
"""The work on one read before other connections get the loop: pieces of bodies, and the slice that they came in. A read
may contain 40,000 chunks of one byte, which take a fifth of a second, and other clients' reads come behind it."""

NO_DESCRIPTOR = -1
BAD_REQUEST = b"Invalid HTTP request received."


class LimitedHttpProtocol(HttpToolsProtocol):
    """One connection. The parser's callbacks check each piece of a head before it is kept."""

    def __init__(self, *args: Any, table: ConnectionTable = CONNECTIONS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table
        self.limits = self.table.current_limits()
        self.group: str | None = None
        self.known = False
        self._closing = False
        self._refusal: tuple[int, str] | None = None
        self._fields = 0
        self._head_bytes = 0
        self._head_complete = False
        self._pending_bytes = 0
        """Bytes since the last callback that completed something: those of an unfinished head, chunk or trailer."""

        self._unread = b""
        self._deferred = False
        self._pieces = 0

    # -- the connection ------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.group = peer_group(self.client[0]) if self.client else None
        listening = transport.get_extra_info("socket")
        descriptor = NO_DESCRIPTOR if listening is None else listening.fileno()
        if not self.table.admit(self, descriptor):
            self._closing = True
            transport.write(
                _error_response(HTTPStatus.SERVICE_UNAVAILABLE, b"Too many connections.", b"retry-after: 1\r\n")
            )
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self.table.forget(self)
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Closes a connection that waited too long."""
        self._closing = True
        self.transport.close()

    def become_known(self) -> None:
        """Spares the connection the limit of its address."""
        self.known = True

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        self.table.begin_head(self)
        if self._deferred:
            # The application has taken the body so far, which resumes reading.
            self._unread += data
            self.transport.pause_reading()
            return
        self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Parses in slices until all is parsed, or the turn is over; the rest waits for the loop's next turn."""
        position, self._pieces = 0, 0
        while position < len(data) and not self._closing:
            if self._pieces >= TURN_PIECES:
                self._defer(data[position:])
                return
            if not self._parse_slice(data[position : position + SLICE_BYTES]):
                return
            position += SLICE_BYTES

    def _parse_slice(self, data: bytes) -> bool:
        """Returns False when the connection's bytes are no business of this protocol any more."""
        self._pending_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            if self._should_upgrade():
                self.handle_websocket_upgrade()
            else:
                self._unsupported_upgrade_warning()
            return False
        except httptools.HttpParserError:
            status, reason = self._refusal or (HTTPStatus.BAD_REQUEST, "syntax")
            self._refuse(status, reason)
            return False
        if self._pending_bytes > self.limits.head_bytes:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_bytes")
            return False
        return True

    def _defer(self, rest: bytes) -> None:
        self._unread, self._deferred = rest, True
        self.transport.pause_reading()
        self.loop.call_soon(self._parse_deferred)

    def _parse_deferred(self) -> None:
        rest, self._unread, self._deferred = self._unread, b"", False
        if self._closing or self.transport.is_closing():
            return
        self._parse(rest)
        if not (self._deferred or self._closing or self.flow.read_paused or self.transport.is_closing()):
            self.transport.resume_reading()

    def handle_websocket_upgrade(self) -> None:
        # `connection_lost` will be the new protocol's.
        self.table.forget(self)
        super().handle_websocket_upgrade()

    def on_response_complete(self) -> None:
        """Starts the next pipelined request, or the wait for the next one. As uvicorn's, without a timer for each."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.table.end_response(self)

    # -- the parser's callbacks ----------------------------------------------------------------------

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self.known:
            extensions: dict[Any, Any] = {CLIENT_KNOWN: self.become_known}
            self.scope["extensions"] = extensions
        self._fields = self._head_bytes = 0
        self._head_complete = False

    def on_url(self, url: bytes) -> None:
        if len(self.url) + len(url) > self.limits.url_bytes:
            self._stop_parsing(HTTPStatus.REQUEST_URI_TOO_LONG, "url")
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keeps a header. A trailer counts, too, and is dropped: uvicorn would add it to the headers, past the proxy
        that checked those."""
        self._fields += 1
        self._head_bytes += len(name) + len(value)
        if self._fields > self.limits.headers:
            self._stop_parsing(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers")
        if self._head_bytes > self.limits.head_bytes:
            self._stop_parsing(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_bytes")
        if not self._head_complete:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head_complete = True
        self._pending_bytes = 0
        self.table.begin_request(self)
        if len(self.pipeline) >= MAX_PIPELINED:
            self._stop_parsing(HTTPStatus.BAD_REQUEST, "pipeline")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._pending_bytes = 0
        self._pieces += 1
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._pending_bytes = 0
        super().on_message_complete()
        if self.cycle is not None and self.cycle.response_complete:
            # The rest of a body that nobody read has arrived only now.
            self.table.end_response(self)

    # -- refusals ------------------------------------------------------------------------------------

    def _stop_parsing(self, status: int, reason: str) -> None:
        """Ends the parser, which raises an error of its own in `data_received`."""
        self._refusal = status, reason
        raise HeadRefused(reason)

    def _refuse(self, status: int, reason: str) -> None:
        """Sends the error, unless another response has begun, and closes."""
        self._closing = True
        self.table.begin_request(self)
        self.table.count(reason)
        cycle = self.cycle
        if self.pipeline or (cycle is not None and cycle.response_started and not cycle.response_complete):
            # An error here would become part of another request's response.
            self.transport.close()
            return
        if cycle is not None:
            # An application that is at work writes nothing after the error.
            cycle.disconnected = True
            cycle.message_event.set()
        text = BAD_REQUEST if status == HTTPStatus.BAD_REQUEST else HTTPStatus(status).phrase.encode()
        self.transport.write(_error_response(status, text))
        self.transport.pause_reading()
        self.loop.call_later(LINGER_SECONDS, self.transport.close)


class HeadRefused(Exception):
    """A request's head is over a limit; raised through the parser to stop it."""


def _error_response(status: int, text: bytes, header: bytes = b"") -> bytes:
    return b"%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n%bconnection: close\r\n\r\n%b" % (
        STATUS_LINE[status],
        len(text),
        header,
        text,
    )
