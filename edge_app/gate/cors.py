"""Cross-origin requests: browsers of GATEWAY_CORS_ORIGINS may call, with a key like everybody else.

Cookies are never allowed across origins, so `*` is as safe as a named origin.
"""

from __future__ import annotations

from django.conf import settings

from edge_app.http.asgi import Headers, Scope, header

_METHODS = b"GET, POST, PUT, PATCH, DELETE, OPTIONS"
_EXPOSED = b"RateLimit, RateLimit-Policy, Retry-After, X-Request-Id, Idempotent-Replayed, Location"
_MAX_AGE = b"600"


def is_preflight(scope: Scope) -> bool:
    """A browser's question whether it may ask."""
    return (
        scope["method"] == "OPTIONS"
        and header(scope, b"origin") is not None
        and header(scope, b"access-control-request-method") is not None
    )


def origin_headers(scope: Scope) -> Headers:
    """What an answer to an allowed origin carries; nothing for others."""
    origin = _allowed_origin(scope)
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", _EXPOSED),
        (b"vary", b"Origin"),
    ]


def preflight_headers(scope: Scope) -> Headers:
    """What the answer to a preflight adds. Any header may be sent: SDKs have names of their own."""
    if _allowed_origin(scope) is None:
        return []
    wanted = header(scope, b"access-control-request-headers") or b"X-API-Key, Authorization, Content-Type"
    return [
        (b"access-control-allow-methods", _METHODS),
        (b"access-control-allow-headers", wanted),
        (b"access-control-max-age", _MAX_AGE),
    ]


def _allowed_origin(scope: Scope) -> bytes | None:
    origin = header(scope, b"origin")
    if origin is None:
        return None
    allowed = settings.GATEWAY_CORS_ORIGINS
    return origin if "*" in allowed or origin.decode("latin-1") in allowed else None
