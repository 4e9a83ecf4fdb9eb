"""The outermost ASGI application: whoever gets past it has a good key, a token in its bucket and a bounded body.

In this order: host, path (unknown ones are 404 without a key), key, rate limit, body. A body is not read before the
key was checked. What the applications below need stands in the scope: `gateway.principal`, `gateway.request_id`,
and `gateway.send`, past the gate, for the bodies of long streams.
Exceptions that they let through are answered here, once, with an error id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from structlog.contextvars import bind_contextvars, clear_contextvars

from core_app.errors import BadRequest, GatewayError, NotFound, Unauthorized, Unavailable
from edge_app.gate.cors import is_preflight, preflight_headers
from edge_app.gate.exchange import CLIENT_GONE, PROBES, Exchange, RenderError, default_body, is_open
from edge_app.http.asgi import Application, ClientGone, Receive, Scope, Send, header
from edge_app.http.body import counted, length_check, read_body, replayed, with_length
from edge_app.rest.errors import internal_error
from tenants_app.authentication import aprincipal_for_secret, secret_from_scope
from tenants_app.limits import RATE_LIMITS, RateLimits
from tenants_app.principal import Principal

PathTest = Callable[[str], bool]
ScopeTest = Callable[[Scope], bool]
TokenPrincipal = Callable[[Scope], Awaitable[Principal | None]]

SOCKET_FAILED = 4003
"""Closes a socket whose application failed after it was accepted: reconnect after a pause (4000–4499 do)."""

WAIT_SECONDS = 30.0
"""How long a request waits for one of GATEWAY_REQUEST_THREADS before it is told to come again (503)."""


class Gate:
    """Wraps the application that serves everything.

    `known_path`: whether any route matches. `is_stream`: consumers, which take no Django thread and read their bodies
    themselves. `body_limit`: bytes for a path (GATEWAY_MAX_BODY_BYTES). `token_principal`: other credentials than
    keys (stream tokens, users), asked when no key was shown; `None` is "nobody", a bad token raises Unauthorized.
    `own_login`: paths whose application checks credentials by itself. `is_counted`: whether a request takes from
    the key's `rpm` bucket (the inference paths have buckets of their own). `render_error`: the body of a refusal, for
    faces with error shapes of their own.
    """

    def __init__(
        self,
        application: Application,
        *,
        known_path: PathTest,
        is_stream: ScopeTest = lambda scope: False,
        body_limit: Callable[[str], int] | None = None,
        token_principal: TokenPrincipal | None = None,
        own_login: ScopeTest = lambda scope: False,
        is_counted: ScopeTest = lambda scope: True,
        render_error: RenderError = default_body,
        limits: RateLimits = RATE_LIMITS,
    ) -> None:
        self._application = application
        self._known_path = known_path
        self._is_stream = is_stream
        self._body_limit = body_limit or (lambda path: settings.GATEWAY_MAX_BODY_BYTES)
        self._token_principal = token_principal
        self._own_login = own_login
        self._is_counted = is_counted
        self._render_error = render_error
        self._limits = limits
        self._threads: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        exchange = Exchange.of(scope, self._render_error)
        handle = self._http if scope["type"] == "http" else self._websocket
        # Of an earlier request nothing may be left where a server, or a test, uses one context for several.
        clear_contextvars()
        bind_contextvars(request_id=exchange.request_id)
        try:
            exchange.send = send
            await handle(exchange, receive, exchange.stamping(send))
        except ClientGone:
            exchange.status = exchange.status or CLIENT_GONE
        finally:
            exchange.log()

    async def _http(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        try:
            await self._serve(exchange, receive, send)
        except (ClientGone, GatewayError) as error:
            await self._fail(exchange, error, send)
        except Exception as cause:  # all that the application did not answer itself
            await self._fail(exchange, internal_error(cause), send)

    async def _serve(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        scope = exchange.scope
        self._check_host(scope)
        if is_preflight(scope):
            await exchange.answer(204, preflight_headers(scope), b"", send)
            return
        exchange.principal = await self._admit(exchange)
        limit = self._body_limit(scope["path"])
        length_check(scope, limit)
        scope = self._extended(exchange)
        if self._is_stream(scope):
            await self._application(scope, counted(receive, limit), send)
            return
        body = await read_body(receive, limit)
        await self._in_a_thread(with_length(scope, body), replayed(body, receive), send)

    async def _in_a_thread(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The application, when one of the request threads is free; probes do not wait."""
        if scope["path"] in PROBES:
            await self._application(scope, receive, send)
            return
        threads = self._request_threads()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await threads.acquire()
        except TimeoutError:
            raise Unavailable("The gateway is busy; try again.") from None
        release = _once(threads.release)
        try:
            # An application that has no more use for its thread may give it back before it ends.
            await self._application({**scope, "gateway.release": release}, receive, send)
        finally:
            release()

    def _request_threads(self) -> asyncio.Semaphore:
        """The places of the running loop: a semaphore belongs to the loop that first waited at it."""
        loop = asyncio.get_running_loop()
        if self._threads is None or self._threads[0] is not loop:
            self._threads = loop, asyncio.Semaphore(settings.GATEWAY_REQUEST_THREADS)
        return self._threads[1]

    async def _fail(self, exchange: Exchange, error: ClientGone | GatewayError, send: Send) -> None:
        """Answers with `error`, or, in the middle of an answer, raises it so that the server cuts the connection."""
        if isinstance(error, ClientGone) or exchange.status is not None:
            raise error
        await exchange.refuse(error, send, self._body_limit(exchange.scope["path"]))

    async def _websocket(self, exchange: Exchange, receive: Receive, send: Send) -> None:
        try:
            self._check_host(exchange.scope)
            exchange.principal = await self._admit(exchange)
            await self._application(self._extended(exchange), receive, send)
        except (ClientGone, GatewayError) as error:
            await self._fail_socket(exchange, error, send)
        except Exception as cause:  # all that the consumer did not answer itself
            await self._fail_socket(exchange, internal_error(cause), send)

    async def _fail_socket(self, exchange: Exchange, error: ClientGone | GatewayError, send: Send) -> None:
        """Refuses the upgrade, or ends the socket when it was accepted already."""
        if isinstance(error, ClientGone):
            raise error
        if exchange.status is None:
            await exchange.refuse_socket(error, send)
        else:
            await send({"type": "websocket.close", "code": SOCKET_FAILED})

    async def _admit(self, exchange: Exchange) -> Principal | None:
        """Who asks; `None` on open paths. Raises what they are refused with."""
        scope = exchange.scope
        if is_open(scope["path"]) or self._own_login(scope):
            return await self._optional(scope)
        if not self._known_path(scope["path"]):
            raise NotFound("There is nothing at this path.")
        exchange.principal = principal = await self._authenticate(scope)
        if self._is_counted(scope) and (limit := await self._limits.take(principal)) is not None:
            exchange.headers.extend(limit.headers())
            limit.enforce()
        return principal

    async def _authenticate(self, scope: Scope) -> Principal:
        secret = secret_from_scope(scope)
        if secret is None and self._token_principal is not None:
            principal = await self._token_principal(scope)
            if principal is not None:
                return principal
        return await aprincipal_for_secret(secret)

    async def _optional(self, scope: Scope) -> Principal | None:
        """The holder of a key that came with `/health` or `/status`, which then tell more; a bad one is no error."""
        if scope["path"] not in ("/health", "/status"):
            return None
        secret = secret_from_scope(scope)
        if secret is None:
            return None
        try:
            return await aprincipal_for_secret(secret)
        except Unauthorized:
            return None

    def _check_host(self, scope: Scope) -> None:
        """Raises BadRequest for a foreign host and for NUL, which no database here takes."""
        host = (header(scope, b"host") or b"").decode("latin-1")
        allowed = settings.GATEWAY_ALLOWED_HOSTS
        if "*" not in allowed and not validate_host(split_domain_port(host)[0], allowed):
            raise BadRequest("GATEWAY_ALLOWED_HOSTS does not name this host.", field="Host")
        if "\x00" in scope["path"]:
            raise NotFound("There is nothing at this path.")
        if b"%00" in scope.get("query_string", b"") or b"\x00" in scope.get("query_string", b""):
            raise BadRequest("The query string holds a NUL.")

    def _extended(self, exchange: Exchange) -> Scope:
        extended = {**exchange.scope, "gateway.request_id": exchange.request_id, "gateway.send": exchange.send}
        if exchange.principal is not None:
            extended["gateway.principal"] = exchange.principal
        return extended


def _once(release: Callable[[], None]) -> Callable[[], None]:
    held = [release]

    def released() -> None:
        if held:
            held.pop()()

    return released
