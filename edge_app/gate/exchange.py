"""One request or socket at the gate: its id, what its answer carries, and the line it leaves in the log.

The line names method, path, status, time, id and tenant; never the query string (sockets carry keys there), headers
or bodies.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from core_app.errors import GatewayError
from core_app.ids import new_id
from core_app.jsontext import clean_text, encode
from core_app.log_lines import log_fast
from edge_app.gate.cors import origin_headers
from edge_app.http.asgi import ClientGone, Headers, Message, Scope, Send, header
from edge_app.http.body import may_be_long
from edge_app.rest.errors import error_body, error_headers
from tenants_app.principal import Principal

PROBES = frozenset({"/healthz", "/readyz", "/health", "/status"})
OPEN_PATHS = (*sorted(PROBES), "/openapi.json", "/docs", "/static", "/admin", "/console")
"""Paths, with all below them, that need no key (native contract); admin and console have their own login."""

_BELOW_OPEN = tuple(f"{path}/" for path in OPEN_PATHS)

RenderError = Callable[[Scope, GatewayError], Mapping[str, Any]]

CLIENT_GONE = 499
_CLIENTS_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
_STARTS = ("http.response.start", "websocket.http.response.start")

_log = logging.getLogger("gateway.access")


def default_body(scope: Scope, error: GatewayError) -> Mapping[str, Any]:
    """The native API's body of a refusal."""
    return error_body(error)


def is_open(path: str) -> bool:
    """Whether `path` needs no key."""
    return path in OPEN_PATHS or path.startswith(_BELOW_OPEN)


@dataclass(slots=True)
class Exchange:
    """What the gate knows of one request; `headers` are added to its answer."""

    scope: Scope
    request_id: str
    render_error: RenderError
    began: float = field(default_factory=time.perf_counter)
    headers: Headers = field(default_factory=list)
    status: int | None = None
    principal: Principal | None = None
    send: Send | None = None

    @classmethod
    def of(cls, scope: Scope, render_error: RenderError) -> Exchange:
        """A new one, with the client's request id when it sent a sensible one."""
        given = header(scope, b"x-request-id")
        request_id = given.decode() if given and _CLIENTS_ID.match(given) else new_id("req")
        exchange = cls(scope, request_id, render_error)
        exchange.headers = [(b"x-request-id", request_id.encode()), *origin_headers(scope)]
        return exchange

    def stamping(self, send: Send) -> Send:
        """`send` that adds the headers to the answer and remembers its status; raises ClientGone."""

        async def stamped(message: Message) -> None:
            if message["type"] in _STARTS:
                self.status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), *self.headers]}
            elif message["type"] == "websocket.accept":
                self.status = 101
            elif message["type"] == "websocket.close" and self.status is None:
                self.status = 403
            try:
                await send(message)
            except OSError:
                # The server's way of saying so (uvicorn: ClientDisconnected).
                raise ClientGone from None

        return stamped

    async def refuse(self, error: GatewayError, send: Send, limit: int) -> None:
        """Answers an HTTP request with the error; a body that was not read may end the connection."""
        headers = _answer_headers(error)
        if may_be_long(self.scope, limit):
            headers.append((b"connection", b"close"))
        await self.answer(error.status, headers, encode(self.render_error(self.scope, error)), send)

    async def refuse_socket(self, error: GatewayError, send: Send) -> None:
        """Refuses the upgrade: as an HTTP answer where the server can, else by closing (403)."""
        if "websocket.http.response" not in (self.scope.get("extensions") or {}):
            await send({"type": "websocket.close", "code": 4501})
            return
        start = {"type": "websocket.http.response.start", "status": error.status, "headers": _answer_headers(error)}
        await send(start)
        await send({"type": "websocket.http.response.body", "body": encode(self.render_error(self.scope, error))})

    async def answer(self, status: int, headers: Headers, body: bytes, send: Send) -> None:
        """A whole HTTP answer from the gate itself."""
        length = (b"content-length", str(len(body)).encode())
        await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
        await send({"type": "http.response.body", "body": body})

    def log(self) -> None:
        """The access line; probes at debug level."""
        path = clean_text(self.scope["path"])
        log_fast(
            _log,
            logging.DEBUG if path in PROBES else logging.INFO,
            "request",
            method=self.scope.get("method", "WEBSOCKET"),
            path=path[:200],
            status=self.status,
            ms=round((time.perf_counter() - self.began) * 1000, 1),
            request_id=self.request_id,
            tenant=None if self.principal is None else self.principal.tenant_slug,
        )


def _answer_headers(error: GatewayError) -> Headers:
    pairs = [(name.lower().encode(), value.encode()) for name, value in error_headers(error).items()]
    return [(b"content-type", b"application/json"), *pairs]
