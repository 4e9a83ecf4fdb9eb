"""The outermost ASGI application: what gets past it has a good key, a token in its bucket and a bounded body.

In this order: host, path (unknown ones are 404 without a key), key, rate limit, body. A body is not read before the
key, or the path's own credential, was checked. The scope carries what the applications behind need:
`gateway.principal`, `gateway.request_id`, `gateway.error_body` of the path's face, `gateway.send`, which goes past the
gate, for the bodies of long streams, `gateway.release_body`, for applications that need the body no longer, and
`gateway.grow_body`, for what they decode it to.
Exceptions that the applications let through become responses here, once, with an error id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache, partial

from django.conf import settings
from django.http.request import split_domain_port, validate_host
from structlog.contextvars import bind_contextvars, clear_contextvars

from core_app.errors import BadRequest, GatewayError, NotFound, RateLimited, Unauthorized, Unavailable
from core_app.shares import NOBODY, RETRY_AFTER_SECONDS, Claim, Shares, Waiter
from edge_app.face import default_body_limit
from edge_app.gate.browser import browser_principal, session_cookie
from edge_app.gate.cors import is_preflight, preflight_headers
from edge_app.gate.failed_keys import FAILED_KEYS, FailedKeys
from edge_app.gate.paths import PathMatch, PathTable
from edge_app.gate.request import CLIENT_GONE, GateRequest
from edge_app.http.asgi import Application, ClientGone, Receive, Scope, Send, header, tell_client_known
from edge_app.http.body import count_body, length_check, read_body, replay_body, with_length
from edge_app.http.body_budget import BODIES
from edge_app.http.errors import ERROR_BODY, internal_error
from edge_app.http.response import send_response
from tenants_app.authentication import secret_from_scope
from tenants_app.limits import RATE_LIMITS, RateLimits
from tenants_app.principal import Principal

LONGEST_HOST = 260
"""Bytes of a Host header: the longest name with a dot at its end, a colon and a port."""

WAIT_SECONDS = 30.0
"""A request waits this long for one of GATEWAY_REQUEST_THREADS before it is told to try again (503)."""


class Gate:
    """Wraps the application that serves everything; `paths` knows the face of every path."""

    def __init__(
        self,
        application: Application,
        paths: PathTable,
        *,
        limits: RateLimits = RATE_LIMITS,
        failed_keys: FailedKeys = FAILED_KEYS,
    ) -> None:
        self._application = application
        self._paths = paths
        self._limits = limits
        self._failed_keys = failed_keys
        self._threads = Shares("requests", lambda: int(settings.GATEWAY_REQUEST_THREADS))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._application(scope, receive, send)
            return
        request = GateRequest.of(scope)
        handle = self._http if scope["type"] == "http" else self._websocket
        # A server, or a test, may use one context for several requests.
        clear_contextvars()
        bind_contextvars(request_id=request.request_id)
        try:
            request.send = send
            await handle(request, receive, request.stamp_responses(send))
        except ClientGone:
            request.status = request.status or CLIENT_GONE
        finally:
            request.log()

    async def _http(self, request: GateRequest, receive: Receive, send: Send) -> None:
        try:
            await self._serve(request, receive, send)
        except (ClientGone, GatewayError) as error:
            await self._fail(request, error, send)
        except Exception as cause:  # everything that the application did not answer itself
            await self._fail(request, internal_error(cause), send)

    async def _serve(self, request: GateRequest, receive: Receive, send: Send) -> None:
        scope = request.scope
        self._check_host(scope)
        if is_preflight(scope):
            await send_response(send, 204, b"", preflight_headers(scope))
            return
        match = self._match(request)
        request.principal = await self._admit(request, match)
        limit = match.face.body_limit(scope["path"])
        share = BODIES.open_share(None if request.principal is None else request.principal.tenant_id)
        length_check(scope, limit, share)
        scope = self._extend_scope(request, match)
        scope["gateway.release_body"], scope["gateway.grow_body"] = share.release, share.grow_to
        receive = count_body(receive, limit, share)
        try:
            if match.streams:
                await self._application(scope, receive, send)
                return
            body = await read_body(receive, limit)
            tenant_id = request.principal.tenant_id if request.principal is not None else NOBODY
            claim = Claim(tenant_id, match.face.session_of(scope["path"]))
            await self._serve_in_thread(claim, with_length(scope, body), replay_body(body, receive), send)
        finally:
            share.release()

    async def _serve_in_thread(self, claim: Claim, scope: Scope, receive: Receive, send: Send) -> None:
        """Calls the application when one of the request threads is free for its tenant and session."""
        release = await self._take_thread(claim)
        try:
            # An application that has no more use for its thread may give it back before it ends.
            await self._application({**scope, "gateway.release": release}, receive, send)
        finally:
            release()

    async def _take_thread(self, claim: Claim) -> Callable[[], None]:
        """Waits for a request thread; returns what gives it back."""
        free = asyncio.get_running_loop().create_future()
        waiter = Waiter(claim, partial(_set_free, free))
        self._threads.enter(waiter)
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await free
        except (TimeoutError, asyncio.CancelledError) as ended:
            if not self._threads.withdraw(waiter):
                self._threads.leave(claim)
            if isinstance(ended, TimeoutError):
                raise Unavailable("The gateway is busy; try again.", retry_after=RETRY_AFTER_SECONDS) from None
            raise
        return _call_once(partial(self._threads.leave, claim))

    async def _fail(self, request: GateRequest, error: ClientGone | GatewayError, send: Send) -> None:
        """Responds with `error`; raises it in the middle of a response, so that the server cuts the connection."""
        if isinstance(error, ClientGone) or request.status is not None:
            raise error
        match = self._match(request)
        body_limit = match.face.body_limit if match.known else default_body_limit
        await request.refuse(error, match, send, body_limit(request.scope["path"]))

    async def _websocket(self, request: GateRequest, receive: Receive, send: Send) -> None:
        try:
            self._check_host(request.scope)
            match = self._match(request)
            request.principal = await self._admit(request, match)
            await self._application(self._extend_scope(request, match), receive, send)
        except (ClientGone, GatewayError) as error:
            await self._fail_socket(request, error, send)
        except Exception as cause:  # everything that the consumer did not answer itself
            await self._fail_socket(request, internal_error(cause), send)

    async def _fail_socket(self, request: GateRequest, error: ClientGone | GatewayError, send: Send) -> None:
        """Refuses the upgrade, or closes the socket when it was accepted already."""
        if isinstance(error, ClientGone):
            raise error
        match = self._match(request)
        if request.status is None:
            await request.refuse_socket(error, match, send)
        else:
            await send({"type": "websocket.close", "code": match.face.close_codes.failed})

    def _match(self, request: GateRequest) -> PathMatch:
        """Returns the match of the request's path, which is looked up once."""
        if request.match is None:
            request.match = self._paths.find(request.scope["path"], socket=request.scope["type"] == "websocket")
        return request.match

    async def _admit(self, request: GateRequest, match: PathMatch) -> Principal | None:
        """Returns the principal of the request, None on open paths; raises what it is refused with."""
        if match.credential_check is not None:
            await match.credential_check(request.scope)
        if match.key != "required":
            return None if match.key == "none" else await self._optional_principal(request.scope)
        if not match.known:
            raise NotFound("There is nothing at this path.")
        request.principal = principal = await self._authenticate(request.scope, match)
        tell_client_known(request.scope)
        if match.counted and (limit := await self._limits.take(principal)) is not None:
            request.headers.extend(limit.headers())
            limit.enforce()
        return principal

    async def _authenticate(self, scope: Scope, match: PathMatch) -> Principal:
        secret = secret_from_scope(scope)
        token_principal = match.face.token_principal
        if secret is None and token_principal is not None:
            principal = await self._failed_keys.check(scope, _shown(scope), lambda: token_principal(scope))
            if principal is not None:
                return principal
        if secret is None and match.face.browser_sessions and (session_key := session_cookie(scope)) is not None:
            return await self._failed_keys.check(
                scope, f"browser {session_key}", lambda: browser_principal(scope, session_key)
            )
        return await self._failed_keys.principal(scope, secret)

    async def _optional_principal(self, scope: Scope) -> Principal | None:
        """Returns the holder of a key that was shown; a bad one is no error."""
        secret = secret_from_scope(scope)
        if secret is None:
            return None
        try:
            return await self._failed_keys.principal(scope, secret)
        except (Unauthorized, RateLimited):
            return None

    def _check_host(self, scope: Scope) -> None:
        """Raises BadRequest for a foreign host, and refuses NUL, which no database here takes."""
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        domain = _domain(hosts[0]) if hosts else ""
        if len(hosts) > 1 or (hosts and not domain):
            # Django would refuse it, too, in its views only and with a traceback in the log.
            raise BadRequest("Host is not one name or address, with or without a port.", field="Host")
        allowed = settings.GATEWAY_ALLOWED_HOSTS
        if "*" not in allowed and not validate_host(domain, allowed):
            raise BadRequest("GATEWAY_ALLOWED_HOSTS does not name this host.", field="Host")
        if "\x00" in scope["path"]:
            raise NotFound("There is nothing at this path.")
        if b"%00" in scope.get("query_string", b"") or b"\x00" in scope.get("query_string", b""):
            raise BadRequest("The query string holds a NUL.")

    def _extend_scope(self, request: GateRequest, match: PathMatch) -> Scope:
        extended = {
            **request.scope,
            "gateway.request_id": request.request_id,
            "gateway.send": request.send,
            ERROR_BODY: match.face.error_body,
        }
        if request.principal is not None:
            extended["gateway.principal"] = request.principal
        return extended


def _domain(host: bytes) -> str:
    """Returns the name or address of a Host header; empty when it is neither."""
    return _parse_domain(host) if len(host) <= LONGEST_HOST else ""


@lru_cache(maxsize=1024)
def _parse_domain(host: bytes) -> str:
    """Parses a Host header, once for the many requests that have the same: it takes microseconds."""
    return split_domain_port(host.decode("latin-1"))[0]


def _shown(scope: Scope) -> str:
    """Returns where a face may find another credential than a key: the query string, the cookies, and Authorization
    with another scheme."""
    headers = b"\n".join(header(scope, name) or b"" for name in (b"cookie", b"authorization"))
    return str((scope.get("query_string", b"") + b"\n" + headers).decode("latin-1"))


def _set_free(free: asyncio.Future[None]) -> None:
    """Wakes a request whose turn it is. One that was cancelled in the same moment gives the thread back itself."""
    if not free.done():
        free.set_result(None)


def _call_once(release: Callable[[], None]) -> Callable[[], None]:
    pending = [release]

    def call() -> None:
        if pending:
            pending.pop()()

    return call
