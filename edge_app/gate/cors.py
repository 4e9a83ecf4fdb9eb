"""Cross-origin requests: browsers of GATEWAY_CORS_ORIGINS may call, with a key like every other client.

Cookies are never allowed across origins, so `*` is as safe as a named origin.
"""

from __future__ import annotations

from django.conf import settings

from edge_app.http.asgi import Headers, Scope, header

_METHODS = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSED = (
    b"RateLimit, RateLimit-Policy, Retry-After, Retry-After-Ms, Link, X-Request-Id, Request-Id, X-Error-Id, "
    b"Idempotent-Replayed, Location, X-Gateway-Provider, X-Gateway-Model, X-Gateway-Attempts, "
    b"X-Gateway-Substituted-For, X-Gateway-Dropped, X-Gateway-Dropped-Tools, X-Gateway-Estimated, "
    b"X-Gateway-Budget-Tokens-Left, X-Gateway-Budget-Usd-Left"
)
_MAX_AGE = b"600"


def is_preflight(scope: Scope) -> bool:
    """Returns True for the request that a browser sends before a cross-origin request."""
    return (
        scope["method"] == "OPTIONS"
        and header(scope, b"origin") is not None
        and header(scope, b"access-control-request-method") is not None
    )


def origin_headers(scope: Scope) -> Headers:
    """Returns the headers of a response to an allowed origin; none for other origins."""
    origin = _allowed_origin(scope)
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def preflight_headers(scope: Scope) -> Headers:
    """Returns the further headers of the response to a preflight. Any request header may be sent: SDKs have names of
    their own."""
    if _allowed_origin(scope) is None:
        return []
    requested = header(scope, b"access-control-request-headers") or b"X-API-Key, Authorization, Content-Type"
    return [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", requested),
        (b"access-control-max-age", _MAX_AGE),
    ]


def _allowed_origin(scope: Scope) -> bytes | None:
    origin = header(scope, b"origin")
    if origin is None:
        return None
    allowed = settings.GATEWAY_CORS_ORIGINS
    return origin if "*" in allowed or origin.decode("latin-1") in allowed else None
