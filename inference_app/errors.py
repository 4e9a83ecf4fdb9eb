"""The model gateway's members of the error tree (`core_app.errors`).

A provider's own refusal keeps its status, message and code. `inference_app.relay.dialect` renders all errors for the
clients of OpenAI and Anthropic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from core_app.errors import BadRequest, GatewayError, NotFound, QuotaExceeded, RateLimited, Unavailable, UpstreamError
from tenants_app.limits import RateLimit


class ProviderRefusal(GatewayError):
    """A provider's refusal of the request itself, in the provider's words. `provider_code` and `type` may be None."""

    def __init__(
        self, status: int, message: str, *, code: str | None = None, type: str | None = None, field: str | None = None
    ) -> None:
        super().__init__(message, field=field)
        self.status = status
        self.provider_code = code
        self.type = type


class ProviderFailed(UpstreamError):
    """Every candidate was asked and failed; the message names the last one and its cause.

    A rate limit keeps its status, so that clients wait. `provider_status` is the status that the failure stands for,
    None without an answer; a dialect chooses the error's type by it. `retry_after_ms` is what the provider asked for.
    """

    def __init__(
        self,
        message: str,
        *,
        provider_status: int | None = None,
        seconds: float | None = None,
        rate_limited: bool = False,
    ) -> None:
        super().__init__(message, retry_after=None if seconds is None else max(1, math.ceil(seconds)))
        self.provider_status = provider_status
        self.retry_after_ms = None if seconds is None else math.ceil(seconds * 1000)
        if rate_limited:
            self.status, self.code = 429, RateLimited.code
            self.retry_after = self.retry_after or 1


class NoProvider(Unavailable):
    """Providers serve the model, but none can be asked now."""


class ModelNotFound(NotFound):
    """No routing rule finds a provider for the name, or the model is not the tenant's to use."""

    code = "model_not_found"

    def __init__(self, name: str) -> None:
        super().__init__(f"The model '{name[:200]}' does not exist or is not yours to use.", field="model")


class PathRateLimited(RateLimited):
    """The key, or its tenant, has made as many requests on this path as it may in a minute."""

    def __init__(self, limit: RateLimit) -> None:
        message = f"{limit.subject} may make {limit.quota} requests per minute on this path."
        super().__init__(message, retry_after=limit.retry_after)
        self.limit = limit


class MinuteBudgetSpent(RateLimited):
    """A budget per minute is spent."""


class BudgetSpent(QuotaExceeded):
    """A budget of a longer period is spent."""


class UnsupportedParameter(BadRequest):
    """A field that asks for something which this gateway does not do."""

    code = "unsupported_parameter"


class ResponseNotFound(NotFound):
    """A stored response that does not exist."""

    code = "response_not_found"


class WithDetails(GatewayError):
    """An error on whose `details` Anthropic's clients act."""

    details: Mapping[str, object]


class UnsupportedFields(WithDetails, UnsupportedParameter):
    """Fields of a vendor's API that need a state which is not held here. Anthropic's clients then send the whole
    conversation."""

    def __init__(self, message: str, *, error_code: str, unsupported: tuple[str, ...]) -> None:
        super().__init__(message, field=unsupported[0])
        self.details = {"error_code": error_code, "unsupported": list(unsupported)}
