"""One request at a bare ASGI endpoint, and the router that turns exceptions into responses in the face's dialect.

For endpoints whose responses stream for a long time or must cost little: they run on the loop, past Django. An endpoint
is a coroutine over an `Exchange`. Whatever it raises before its response has started becomes a response in the router,
which is the boundary of that wire.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from django.conf import settings

from core_app.errors import GatewayError, InternalError, MethodNotAllowed
from core_app.jsontext import encode
from edge_app.http.asgi import ClientGone, Headers, Message, Receive, Scope, Send, header
from edge_app.http.body import decoded_body, read_body
from edge_app.http.client_watch import ClientWatch
from edge_app.http.errors import ErrorBody, internal_error
from edge_app.http.response import JSON, error_header_pairs, send_response
from tenants_app.principal import Principal

D = TypeVar("D")


class Upstream(Protocol):
    """A response from elsewhere that is handed to the client. `first` is the beginning of its body, or all of it."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Headers: ...

    @property
    def first(self) -> bytes: ...

    async def more(self) -> bytes:
        """Returns the next bytes of a streamed body; none at its end."""


@dataclass(slots=True)
class Exchange(Generic[D]):
    """One request and its response.

    `dialect` is the face's own value for this request. `headers` are added to every response. `send_body` is the
    server's own `send` for what follows the head, past the layers that only look at heads; it raises OSError for a
    client that has gone.
    """

    scope: Scope
    receive: Receive
    send: Send
    dialect: D
    body_limit: int
    headers: Headers = field(default_factory=list)
    send_body: Send | None = None
    started: bool = False

    @property
    def principal(self) -> Principal:
        """The caller, whom the gate admitted."""
        principal: Principal = self.scope["gateway.principal"]
        return principal

    @property
    def request_id(self) -> str:
        """The id of the request in the logs."""
        request_id: str = self.scope["gateway.request_id"]
        return request_id

    async def read_body(self) -> bytes:
        """Reads the request's body; the gate counts it against the same limit. One in a content coding is decoded, and
        what it decodes to counts."""
        body = await read_body(self.receive, self.body_limit)
        coding = header(self.scope, b"content-encoding")
        if coding is None:
            return body
        grow: Callable[[int], None] = self.scope.get("gateway.grow_body", lambda size: None)
        return await decoded_body(body, coding.decode("latin-1"), self.body_limit, grow)

    def release_body(self) -> None:
        """Tells the gate that the body is no longer in memory, though its response goes on."""
        release: Callable[[], None] | None = self.scope.get("gateway.release_body")
        if release is not None:
            release()

    def forwarded_headers(self, names: Collection[bytes]) -> Mapping[str, str]:
        """The client's headers among `names`; one that comes in several lines is joined by commas."""
        found: dict[str, str] = {}
        for name, value in self.scope["headers"]:
            if name in names:
                known, text = name.decode("latin-1"), value.decode("latin-1")
                found[known] = f"{found[known]},{text}" if known in found else text
        return found

    def watch(self) -> ClientWatch:
        """The watch around everything that is done for the client after its body was read."""
        return ClientWatch(self.receive, settings.GATEWAY_SLOW_CLIENT_SECONDS)

    async def send_json(self, status: int, value: Any, headers: Headers | None = None) -> None:
        """Sends a complete JSON response."""
        self.started = True
        await send_response(self.send, status, encode(value), [JSON, *(headers or ()), *self.headers])

    async def send_upstream(self, upstream: Upstream, watch: ClientWatch, *, streamed: bool) -> None:
        """Hands a response to the client as it comes, no faster than the client reads; raises ClientGone."""
        send, send_body = self.send, self.send_body or self.send
        headers = [*upstream.headers, *self.headers]
        if not streamed:
            headers.append((b"content-length", b"%d" % len(upstream.first)))
        self.started = True
        await send({"type": "http.response.start", "status": upstream.status, "headers": headers})
        timer = watch.write_timer
        data = upstream.first or await upstream.more()
        while data:
            timer.resume()
            try:
                await send_body({"type": "http.response.body", "body": data, "more_body": streamed})
            except OSError:
                raise ClientGone from None
            timer.pause()
            if not streamed:
                return
            data = await upstream.more()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _without_body(send: Send) -> Send:
    """Returns `send` for the response to HEAD: the head of the response to GET, and no body."""

    async def send_head(message: Message) -> None:
        await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

    return send_head


Endpoint = Callable[[Exchange[D]], Awaitable[None]]


class Router(Generic[D]):
    """The ASGI application of some paths. `route(path)` returns the endpoints by method, `open_exchange` makes the
    exchange of a request, `error_body` is the face's dialect, and `error_headers` returns what the face adds to the
    headers of an error's status. `scope` is what every caller needs."""

    def __init__(
        self,
        route: Callable[[str], Mapping[str, Endpoint[D]]],
        *,
        scope: str,
        open_exchange: Callable[[Scope, Receive, Send], Exchange[D]],
        error_body: ErrorBody,
        error_headers: Callable[[GatewayError], Headers] = lambda error: [],
    ) -> None:
        self._route = route
        self._scope = scope
        self._open_exchange = open_exchange
        self._error_body = error_body
        self._error_headers = error_headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = self._open_exchange(scope, receive, send)
        try:
            exchange.principal.require(self._scope)
            methods = self._route(scope["path"])
            endpoint = methods.get(scope["method"])
            if endpoint is None and scope["method"] == "HEAD" and (endpoint := methods.get("GET")) is not None:
                exchange.send = _without_body(exchange.send)
            if endpoint is None:
                allowed = sorted((*methods, "HEAD") if "GET" in methods else methods)
                raise MethodNotAllowed("This path does not have that method.", allow=", ".join(allowed))
            await endpoint(exchange)
        except ClientGone:
            raise
        except Exception as error:  # the boundary of this wire: everything that an endpoint did not answer itself
            if exchange.started:
                # The response has started; the gate cuts the connection, which is the only way left to say so.
                raise
            await self._refuse(exchange, error if isinstance(error, GatewayError) else internal_error(error))

    async def _refuse(self, exchange: Exchange[D], error: GatewayError) -> None:
        headers = [*error_header_pairs(error), *self._error_headers(error)]
        if isinstance(error, InternalError):
            headers.append((b"x-error-id", error.error_id.encode()))
        await exchange.send_json(error.status, dict(self._error_body(exchange.scope, error)), headers)
