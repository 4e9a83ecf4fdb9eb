"""Why a request is not answered, before it is put into the caller's dialect.

Everything the gateway itself refuses comes from the one tree of `core_app.errors`; a provider's own refusal of the
request keeps its status, message and code.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from core_app import errors
from core_app.errors import GatewayError
from edge_app.http.asgi import Headers
from tenants_app.limits import RateLimit

_CODES = {
    "unauthorized": "invalid_api_key",
    "rate_limited": "rate_limit_exceeded",
    "quota_exceeded": "insufficient_quota",
    "upstream_error": "PROVIDER_ERROR",
    "unavailable": "NO_PROVIDER",
}


@dataclass
class Refusal(Exception):
    """`code` is for programs, `param` names the field at fault, `retry_after` is in whole seconds."""

    status: int
    code: str | None
    message: str
    param: str | None = None
    retry_after: int | None = None
    type: str | None = None
    headers: Headers = field(default_factory=list)


def refusal_of(error: GatewayError) -> Refusal:
    """One of the gateway's own errors."""
    retry_after = error.retry_after if isinstance(error, errors.RateLimited) else None
    return Refusal(error.status, _CODES.get(error.code, error.code), error.message, error.field, retry_after)


def limited(limit: RateLimit) -> Refusal:
    """The key has made as many requests on this path as it may."""
    message = f"This key may make {limit.quota} requests per minute on this path."
    return Refusal(429, "rate_limit_exceeded", message, None, limit.retry_after, headers=limit.headers())


def model_not_found(name: str) -> Refusal:
    """No rule of routing finds a provider for the name."""
    return Refusal(404, "model_not_found", f"The model '{name[:200]}' does not exist or is not yours to use.", "model")


def no_provider(message: str, retry_after: int | None = None) -> Refusal:
    """There are providers for the name, but none can be asked now."""
    return Refusal(503, "NO_PROVIDER", message, None, retry_after)


def provider_failed(provider: str, code: str, retry_after: int | None = None) -> Refusal:
    """Every candidate was asked and failed; `code` is the last one's error code, else its status."""
    return Refusal(502, "PROVIDER_ERROR", f"{provider}: {code}", None, retry_after)
