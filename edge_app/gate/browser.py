"""Signed-in people's browsers at the gate: the Django session's cookie in place of a key, for pages of the same origin.

A browser sends cookies by itself, so a request must show that a page of the gateway made it. What is checked, before
the session is looked up and before the body is read:

- `Origin` and `Sec-Fetch-Site`, where they are sent, name the gateway's own origin
- a socket has the gateway's `Origin`
- a method that changes something has one of the two, and Django's CSRF token in `X-CSRFToken`
- `X-Gateway-Tenant`, where it is sent, is the tenant in which the person works: a page that was left open must not act
  in the tenant that its person chose elsewhere meanwhile

A request with a key, or with a stream token where one is taken, never comes here; its cookies are ignored.
"""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.cookie import parse_cookie
from rest_framework.authentication import CSRFCheck

from core_app.errors import Conflict, Forbidden, Unauthorized
from edge_app.http.asgi import Scope, header
from tenants_app.authentication import aprincipal_for_browser
from tenants_app.principal import Principal

TENANT_HEADER = b"x-gateway-tenant"

_SAFE = ("GET", "HEAD", "OPTIONS")
_SCHEMES = {"ws": "http", "wss": "https"}
_LONGEST_KEY = 64
"""Characters of a session's key: Django's have 32, and the cache must not be filled with long ones."""


def session_cookie(scope: Scope) -> str | None:
    """Returns the key of the Django session in the cookies; None without one. Other requests cost one look at their
    headers."""
    cookies = header(scope, b"cookie")
    if cookies is None or settings.SESSION_COOKIE_NAME.encode() not in cookies:
        return None
    key = _cookies_of(cookies).get(settings.SESSION_COOKIE_NAME, "")
    return key if 0 < len(key) <= _LONGEST_KEY else None


async def browser_principal(scope: Scope, session_key: str) -> Principal:
    """Returns the principal of the signed-in person. Raises Forbidden for a request that no page of the gateway made,
    Unauthorized for somebody who is not signed in any more, Conflict for a page of another tenant."""
    origin_check(scope)
    if scope["type"] == "http" and scope["method"] not in _SAFE:
        _token_check(scope)
    principal = await aprincipal_for_browser(session_key)
    if principal is None:
        raise Unauthorized("You are signed out: sign in again at /console/sign-in.")
    wanted = header(scope, TENANT_HEADER)
    if wanted is not None and wanted.decode("latin-1") != principal.tenant_slug:
        raise Conflict(
            f"This page is of another tenant, and you work in '{principal.tenant_slug}' now: reload it.",
            field="X-Gateway-Tenant",
        )
    return principal


def own_origin(scope: Scope) -> bytes:
    """Returns the origin of the gateway's pages, as the client reached it."""
    scheme = scope.get("scheme") or "http"
    scheme = _SCHEMES.get(scheme, scheme)
    return b"%b://%b" % (scheme.encode(), (header(scope, b"host") or b"").lower())


def origin_check(scope: Scope) -> None:
    """Raises Forbidden unless the request comes from a page of the gateway, as far as its headers tell. Safe requests
    may have neither header: browsers send no `Origin` with them, and `Sec-Fetch-Site` over https only."""
    origin, site = header(scope, b"origin"), header(scope, b"sec-fetch-site")
    is_socket = scope["type"] == "websocket"
    if origin is not None and origin.lower() != own_origin(scope):
        raise _foreign("Origin")
    if site is not None and site not in (b"same-origin", b"none"):
        raise _foreign("Sec-Fetch-Site")
    if origin is not None:
        return
    if is_socket or (scope["method"] not in _SAFE and site != b"same-origin"):
        raise _foreign("Origin")


class _Request(HttpRequest):
    """As much of a request as Django's check of a token looks at. Origins are checked here already."""

    def __init__(self, scope: Scope) -> None:
        super().__init__()
        self.method = scope["method"]
        self.COOKIES = _cookies_of(header(scope, b"cookie") or b"")
        self.META = {"HTTP_X_CSRFTOKEN": (header(scope, b"x-csrftoken") or b"").decode("latin-1")}


def _token_check(scope: Scope) -> None:
    request = _Request(scope)
    check = CSRFCheck(_no_response)
    check.process_request(request)
    if check.process_view(request, _no_response, (), {}) is not None:
        raise Forbidden(
            "A signed-in browser sends the page's CSRF token in X-CSRFToken; reload the page.", field="X-CSRFToken"
        )


def _no_response(request: HttpRequest) -> HttpResponse:
    return HttpResponse()


def _cookies_of(cookies: bytes) -> dict[str, str]:
    parsed: dict[str, str] = parse_cookie(cookies.decode("latin-1"))
    return parsed


def _foreign(field: str) -> Forbidden:
    return Forbidden("A signed-in browser may call only from the gateway's own pages; others need a key.", field=field)
