"""Translation of provider errors into the gateway's own codes and sentences, and the rules for retries.

The provider's texts are only logged, because they may quote the conversation, the key or an internal address. Codes:
upstream_error, rate_limited, timeout, context_length_exceeded, bad_request, unprocessable.
"""

from __future__ import annotations

import random

from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelAuthenticationError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelQuotaExceededError,
    ModelRateLimitError,
    ModelRequestRejectedError,
    ModelRequestTimeout,
    ModelServerError,
    ModelTimeoutError,
    ModelUnavailableError,
    UnexpectedModelBehavior,
    UserError,
)

from agents_app.engine import Failed
from agents_app.ready_model import RetryRule


class ProviderCoolingDown(Exception):
    """The provider is in a cooldown for `seconds`, after failures or because it asked for one, so no request was
    sent."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The cooldown lasts another {seconds:.1f} s.")
        self.seconds = seconds


PROVIDER_ERRORS = (ModelAPIError, UnexpectedModelBehavior, UserError, ProviderCoolingDown)
"""Errors of the library for a failing provider, an unreadable response and a request that it cannot express, and the
error for a request that was not sent."""

MAX_WAIT = 30.0
"""Seconds. When a provider asks for a longer pause, there is no retry: waiting is left to the client."""

RETRY_WINDOW = 90.0
"""Seconds after the first attempt of a request in which it may be retried."""

_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})


def failure(error: BaseException, model: str) -> Failed:
    """Translates one of PROVIDER_ERRORS into the outcome of a leg."""
    if isinstance(error, ProviderCoolingDown):
        return Failed("upstream_error", f"The provider of {model} rests after failures.", retryable=True)
    if isinstance(error, ModelContextWindowExceededError):
        return Failed("context_length_exceeded", f"The conversation is longer than {model} can take.")
    if isinstance(error, ModelTimeoutError | ModelRequestTimeout):
        return Failed("timeout", f"{model} did not answer in time.", retryable=True)
    if isinstance(error, ModelRateLimitError):
        return Failed("rate_limited", f"The provider of {model} limits the gateway's rate.", retryable=True)
    if isinstance(error, ModelQuotaExceededError):
        return Failed("upstream_error", f"The gateway's account at the provider of {model} is used up.")
    if isinstance(error, ModelAuthenticationError):
        return Failed("upstream_error", f"The provider of {model} refuses the gateway's key.")
    if isinstance(error, ModelConnectionError):
        return Failed("upstream_error", f"The connection to the provider of {model} failed or broke.", retryable=True)
    if isinstance(error, ModelUnavailableError | ModelServerError):
        return Failed("upstream_error", f"The provider of {model} is failing.", retryable=True)
    return _rejection(error, model)


def outage_seconds(error: BaseException) -> float | None:
    """Returns None unless the error means that the provider cannot be asked now, whatever the request: a cooldown, a
    rate limit, no connection, an overload, a status of 5xx. Else the seconds that it wants to be left alone, 0 if it
    does not say.

    A provider that takes a request and does not answer in time is none of these: it may work on the request, and every
    repetition may be paid for."""
    if isinstance(error, ProviderCoolingDown):
        return error.seconds
    if not isinstance(error, ModelAPIError) or not _is_away(error):
        return None
    return max(0.0, error.retry_after or 0.0)


def _is_away(error: ModelAPIError) -> bool:
    if isinstance(error, ModelTimeoutError):
        # In the other phases the request may have been sent.
        return error.phase in ("pool", "connect")
    if isinstance(error, ModelRateLimitError | ModelConnectionError | ModelUnavailableError):
        return True
    if isinstance(error, ModelHTTPError):
        return error.status_code == 429 or (error.status_code >= 500 and error.status_code not in (501, 505))
    return isinstance(error, ModelServerError)


def is_transient(error: BaseException) -> bool:
    """True when the same request may succeed if it is sent again."""
    if isinstance(error, ModelRateLimitError | ModelConnectionError | ModelUnavailableError | ModelRequestTimeout):
        return True
    status = error.status_code if isinstance(error, ModelHTTPError) else None
    if status is not None:
        return status in _TRANSIENT_STATUSES or (status >= 500 and status not in (501, 505))
    return isinstance(error, ModelServerError)


def retry_delay(rule: RetryRule, attempt: int, elapsed: float, error: BaseException) -> float | None:
    """Returns the seconds to wait before the next attempt; None if there should be none. `attempt` is the number of the
    one that failed, from 0; `elapsed` counts seconds since the first began."""
    if attempt >= rule.retries or elapsed > RETRY_WINDOW or not is_transient(error):
        return None
    asked: float | None = error.retry_after if isinstance(error, ModelAPIError) else None
    if asked is not None:
        return asked if asked <= MAX_WAIT else None
    # A jitter of a quarter, so that legs do not all retry at once after a short failure of a provider.
    return min(rule.base_delay * (1 << attempt), rule.max_delay) * (0.75 + random.random() / 2)  # noqa: S311


def _rejection(error: BaseException, model: str) -> Failed:
    if isinstance(error, ModelNotFoundError):
        return Failed("unprocessable", f"The provider knows no model {model}.")
    status = error.status_code if isinstance(error, ModelHTTPError) else None
    if isinstance(error, ContentFilterError):
        return Failed("unprocessable", f"The provider of {model} refused to answer: its content filter objects.")
    if isinstance(error, UserError):
        return Failed("unprocessable", f"{model} cannot take a part of this conversation.")
    if status == 413:
        return Failed("context_length_exceeded", f"The conversation is larger than {model} can take.")
    if status is not None and status in _TRANSIENT_STATUSES:
        return Failed("upstream_error", f"The provider of {model} answered {status}.", retryable=True)
    if status is not None and 400 <= status < 500:
        code = "unprocessable" if status == 422 else "bad_request"
        return Failed(code, f"The provider of {model} refused the request ({status}).")
    if isinstance(error, ModelRequestRejectedError):
        return Failed("bad_request", f"The provider of {model} refused the request.")
    return Failed("upstream_error", f"The provider of {model} gave no answer that can be read.", retryable=True)
