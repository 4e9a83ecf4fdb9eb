"""Errors in the dialects of OpenAI's and Anthropic's clients: as a response, and as the last event of a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from core_app.errors import GatewayError
from core_app.header_pairs import HeaderPairs
from core_app.jsontext import encode
from inference_app.errors import PathRateLimited, ProviderFailed, ProviderRefusal, WithDetails

_CODES = {
    "unauthorized": "invalid_api_key",
    "rate_limited": "rate_limit_exceeded",
    "quota_exceeded": "insufficient_quota",
    "upstream_error": "PROVIDER_ERROR",
    "unavailable": "NO_PROVIDER",
}
"""Codes of the gateway as OpenAI's clients know them; all others are the same."""


class Dialect(Protocol):
    """The shape of errors for one family of clients."""

    def body(self, error: GatewayError) -> Mapping[str, Any]:
        """Returns the body of an error response."""

    def event(self, error: GatewayError) -> bytes:
        """Returns the event that ends a stream which has begun."""


def error_headers(error: GatewayError) -> HeaderPairs:
    """Returns the headers that an error of the relay adds to those of its status: the state of the path's bucket, or
    the exact delay that a provider asked for."""
    if isinstance(error, ProviderFailed) and error.retry_after_ms is not None:
        return [(b"retry-after-ms", b"%d" % error.retry_after_ms)]
    return error.limit.headers() if isinstance(error, PathRateLimited) else []


def type_status(error: GatewayError) -> int:
    """Returns the status by which an error's type is chosen: of a failed provider, what it answered itself, unless that
    was about the operator's account."""
    told = error.provider_status if isinstance(error, ProviderFailed) else None
    return told if told in _TOLD else error.status


_TOLD = (408, 429, 503, 504, 529)
"""Statuses of providers that mean the same to the client: too many requests, overloaded, too late."""


def error_code(error: GatewayError) -> str | None:
    """Returns the code for OpenAI's clients; a provider's own may be None."""
    return error.provider_code if isinstance(error, ProviderRefusal) else _CODES.get(error.code, error.code)


class OpenAI:
    """`{"error":{"message","type","param","code"}}`."""

    _types = {
        401: "authentication_error",
        402: "insufficient_quota",
        403: "permission_error",
        429: "rate_limit_error",
    }

    def body(self, error: GatewayError) -> Mapping[str, Any]:
        provider_type = error.type if isinstance(error, ProviderRefusal) else None
        kind = provider_type or self._types.get(type_status(error)) or _fallback(error.status, "server_error")
        return {"error": {"message": error.message, "type": kind, "param": error.field, "code": error_code(error)}}

    def event(self, error: GatewayError) -> bytes:
        return b"data: " + encode(self.body(error)) + b"\n\n"


class Anthropic:
    """`{"type":"error","error":{"type","message"}}`."""

    _types = {
        401: "authentication_error",
        402: "billing_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        408: "timeout_error",
        503: "overloaded_error",
        504: "timeout_error",
        529: "overloaded_error",
    }

    def body(self, error: GatewayError) -> Mapping[str, Any]:
        kind = self._provider_type(error) or self._types.get(type_status(error))
        kind = kind or _fallback(error.status, "api_error")
        details = {"details": error.details} if isinstance(error, WithDetails) else {}
        return {"type": "error", "error": {"type": kind, "message": error.message, **details}}

    def _provider_type(self, error: GatewayError) -> str | None:
        """Returns the type of a provider's refusal, if it is one of Anthropic's own."""
        named = error.type if isinstance(error, ProviderRefusal) else None
        return named if named in self._types.values() else None

    def event(self, error: GatewayError) -> bytes:
        return b"event: error\ndata: " + encode(self.body(error)) + b"\n\n"


def _fallback(status: int, server: str) -> str:
    return server if status >= 500 else "invalid_request_error"


OPENAI = OpenAI()
ANTHROPIC = Anthropic()
