"""A wire protocol as one value: everything that a face adds to the process.

`FACES` in the settings lists the packages; each has its `Face` in `face.FACE`. Routing, the gate, Django's URLs, the
metrics and the OpenAPI document are made from these values, so a face is removed with its folder and its line.
docs/adding-a-face.md adds one from nothing.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from django.conf import settings
from django.urls import URLPattern, URLResolver, path, re_path

from core_app.lifecycle import Part
from edge_app.http.asgi import Application, Headers, Scope
from edge_app.http.errors import ErrorBody, native_error_body
from tenants_app.principal import Principal

KeyUse = Literal["required", "optional", "none"]
"""The gate asks for a key, or reads one that is shown and ignores a bad one, or does not look for any."""

CredentialCheck = Callable[[Scope], Awaitable[None]]
"""Raises NotFound, Unauthorized or RateLimited for a request without a good credential of its own."""

TokenPrincipal = Callable[[Scope], Awaitable[Principal | None]]


def default_body_limit(path: str) -> int:
    """Returns GATEWAY_MAX_BODY_BYTES."""
    limit: int = settings.GATEWAY_MAX_BODY_BYTES
    return limit


def no_session(path: str) -> str | None:
    """Returns None."""
    return None


def no_headers(scope: Scope, request_id: str) -> Headers:
    """Returns no headers."""
    return []


def no_path(path: str) -> bool:
    """Returns False."""
    return False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Route:
    """An ASGI application in front of Django: an event stream, a socket or a relay endpoint.

    It takes no Django thread, however long it lasts. The gate has checked the key, and counts the body while the
    application reads it.
    """

    path: str | re.Pattern[str]
    """As Django's `path` takes it, or an expression for the whole of a path; both without the leading slash."""

    application: Callable[..., Awaitable[None]]
    protocol: Literal["http", "websocket"] = "http"
    key: KeyUse = "required"
    """`none` for sockets that check a credential in their first message, too."""

    counted: bool = True
    """False for requests that take nothing from their key's `rpm`, because they have limits of their own."""

    probe: bool = False
    """True for paths that machines ask every few seconds: their access lines are of level debug."""

    traced: bool = True
    """False for an exact path whose requests have no span."""

    frequent: Sequence[str] = ()
    """Exact paths that go past the URL router: it tries its expressions and copies the scope."""

    templates: Sequence[str] = ()
    """Path templates as the metrics name them (`/v1/things/{thing_id}`), for a path that is an expression."""

    def pattern(self) -> URLPattern:
        """Returns the route as Channels' URL router takes it."""
        made: URLPattern
        application: Any = self.application
        made = path(self.path, application) if isinstance(self.path, str) else regex_route(self.path, application)
        return made


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class DjangoWrapper:
    """An ASGI application around Django, for one of a face's Django paths; it takes a Django thread as they do."""

    path: str
    """As in the face's `urls`."""

    wrap: Callable[[Any], Callable[..., Awaitable[None]]]
    """Makes the application from Django's."""


@dataclass(frozen=True, slots=True)
class SocketCodes:
    """Close codes that the gate sends in place of a face's application."""

    refused: int = 4501
    """In place of an upgrade, where the server cannot send an HTTP response."""

    failed: int = 4003
    """After the application failed: clients reconnect after a pause."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Face:
    """One wire protocol. Every path in here begins with a slash, except those of routes and Django's URLs."""

    name: str
    consumers: Sequence[Route] = ()
    wrappers: Sequence[DjangoWrapper] = ()
    urls: Sequence[URLPattern | URLResolver] = ()
    """Django's, for DRF views and pages."""

    error_body: ErrorBody = native_error_body
    """Makes the body of an error, for the gate's own responses, DRF views and event streams."""

    refusal_headers: Callable[[Scope, str], Headers] = no_headers
    """Returns what the gate's own refusals get for the face's clients, by the scope and the request's id."""

    body_limit: Callable[[str], int] = default_body_limit
    """Returns the most bytes that a request's body may have, by its path."""

    session_of: Callable[[str], str | None] = no_session
    """Returns what requests to a path may wait for each other at, such as a session's id: they occupy at most
    GATEWAY_SESSION_THREADS together."""

    open_paths: Sequence[str] = ()
    """Django's paths that need no key, with everything below them."""

    own_credential_paths: Mapping[str, CredentialCheck] = field(default_factory=dict)
    """The same for paths that bring a credential of their own, each with its check, which the gate makes before it
    reads the body. A path that ends in a slash stands for what is below it only."""

    optional_key_paths: Sequence[str] = ()
    """Django's paths that need no key and tell more to the holder of one."""

    token_principal: TokenPrincipal | None = None
    """Reads other credentials than keys (stream tokens, cookies) when a request shows no key. None is nobody; raises
    Unauthorized for a bad one."""

    browser_sessions: bool = False
    """True where signed-in people may call from the gateway's own pages with the cookie of their session in place of a
    key (`edge_app.gate.browser`)."""

    is_dialect_path: Callable[[str], bool] = no_path
    """True for paths that nobody serves and whose clients read errors in this face's shape."""

    page_folders: Sequence[str] = ()
    """First folders of paths that the metrics count as one route each, such as `static`."""

    close_codes: SocketCodes = SocketCodes()
    parts: Sequence[Part] = ()
    """Started with a web process after everything that they may use, and stopped before it."""

    openapi: str = ""
    """Dotted name of the `edge_app.openapi.FaceDocument`. A name, because loading it takes a start 0.1 s, and few
    processes are ever asked for the document."""


def regex_route(expression: re.Pattern[str], application: Application) -> URLPattern:
    """Returns a route for all paths that the expression matches from their beginning; Django would search for it."""
    view: Any = application
    made: URLPattern = re_path(rf"\A{expression.pattern}", view)
    return made
