"""One request or socket at the gate: its id, the headers that its response gets, and its line in the log.

The line names method, path, status, time, id and tenant; never the query string (sockets carry keys there), headers
or bodies.
"""

from __future__ import annotations

import logging
import re
import time
from dataclasses import dataclass, field

from core_app.errors import GatewayError
from core_app.ids import new_id
from core_app.jsontext import clean_text
from core_app.log_lines import log_fast
from edge_app.gate.cors import origin_headers
from edge_app.gate.paths import PathMatch
from edge_app.http.asgi import ClientGone, Headers, Message, Scope, Send, header
from edge_app.http.body import may_be_long
from edge_app.http.response import deny_socket, send_error
from tenants_app.principal import Principal

CLIENT_GONE = 499
"""The status in the log of a request whose client went away before it had a response (nginx has the same)."""

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}\Z")
_STARTS = ("http.response.start", "websocket.http.response.start")

logger = logging.getLogger("gateway.access")


@dataclass(slots=True)
class GateRequest:
    """A request and its response as far as the gate knows them; `headers` are added to the response."""

    scope: Scope
    request_id: str
    began: float = field(default_factory=time.perf_counter)
    headers: Headers = field(default_factory=list)
    match: PathMatch | None = None
    status: int | None = None
    principal: Principal | None = None
    send: Send | None = None

    @classmethod
    def of(cls, scope: Scope) -> GateRequest:
        """Returns a new one, with the client's request id when it sent one of a sensible form."""
        given = header(scope, b"x-request-id")
        request_id = given.decode() if given and _REQUEST_ID.match(given) else new_id("req")
        request = cls(scope, request_id)
        request.headers = [(b"x-request-id", request_id.encode()), *origin_headers(scope)]
        return request

    def stamp_responses(self, send: Send) -> Send:
        """Returns `send` that adds the headers to the response and remembers its status; raises ClientGone."""

        async def stamp(message: Message) -> None:
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
                # Servers report a closed connection so (uvicorn: ClientDisconnected).
                raise ClientGone from None

        return stamp

    async def refuse(self, error: GatewayError, match: PathMatch, send: Send, limit: int) -> None:
        """Responds with the error in the face's shape; a body that was not read may end the connection."""
        close = [(b"connection", b"close")] if may_be_long(self.scope, limit) else []
        close += match.face.refusal_headers(self.scope, self.request_id)
        await send_error(send, error, match.face.error_body(self.scope, error), close)

    async def refuse_socket(self, error: GatewayError, match: PathMatch, send: Send) -> None:
        """Refuses the upgrade: with an HTTP response where the server can send one, else by closing (403)."""
        face = match.face
        await deny_socket(self.scope, send, error, face.error_body, close_code=face.close_codes.refused)

    def _level(self) -> int:
        status = self.status or 0
        if status >= 500:
            return logging.ERROR if status == 500 else logging.WARNING
        return logging.DEBUG if self.match is not None and self.match.probe else logging.INFO

    def log(self) -> None:
        """Writes the access line: for probes at debug level, for failures of the gateway or of what it needs at warning
        or error."""
        path = clean_text(self.scope["path"])
        log_fast(
            logger,
            self._level(),
            "request",
            method=self.scope.get("method", "WEBSOCKET"),
            path=path[:200],
            status=self.status,
            ms=round((time.perf_counter() - self.began) * 1000, 1),
            request_id=self.request_id,
            tenant=None if self.principal is None else self.principal.tenant_slug,
        )
