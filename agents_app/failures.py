"""Translation of provider failures into the gateway's own codes and sentences.

The provider's texts are only logged, because they may quote the conversation, the key or an internal address. Codes:
upstream_error, rate_limited, timeout, context_length_exceeded, bad_request, unprocessable.
"""

from __future__ import annotations

from pydantic_ai.exceptions import UnexpectedModelBehavior, UserError

from agents_app.engine import Failed
from inference_app.providers.refusal_kind import refusal_kind
from inference_app.providers.retry_policy import CALLER_FAULT_STATUSES, UNRETRYABLE_STATUSES, Fault
from inference_app.relay.attempt import AttemptFailed


class ProviderCoolingDown(Exception):
    """The provider is in a cooldown for `seconds`, after failures or because it asked for one, so no request was
    sent."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"The cooldown lasts another {seconds:.1f} s.")
        self.seconds = seconds


PROVIDER_ERRORS = (AttemptFailed, UnexpectedModelBehavior, UserError, ProviderCoolingDown)
"""Errors for a failing provider, an unreadable response and a request that its wire cannot express, and the error for a
request that was not sent."""

WAIT_WINDOW = 90.0
"""Seconds for which a run waits for the rest of its only provider."""

_TRANSIENT_STATUSES = frozenset({408, 409, 425, 429})
_BAD_REQUESTS = (400, 415, 422)
_BROKEN = ("connect", "disconnected")


def failure(error: BaseException, model: str) -> Failed:
    """Translates one of PROVIDER_ERRORS into the outcome of a leg."""
    if isinstance(error, AttemptFailed):
        return _failed_attempt(error, model)
    if isinstance(error, ProviderCoolingDown):
        return Failed("upstream_error", f"The provider of {model} rests after failures.", retryable=True)
    if isinstance(error, UserError):
        return Failed("unprocessable", f"{model} cannot take a part of this conversation.")
    return Failed("upstream_error", f"The provider of {model} gave no answer that can be read.", retryable=True)


def is_refused_content(error: BaseException) -> bool:
    """True if the error may be about a part of the conversation: its wire cannot express it, or the provider says that
    the request is bad."""
    if isinstance(error, AttemptFailed):
        return error.fault.status in _BAD_REQUESTS and refusal_kind(error.refusal) == "other"
    return isinstance(error, UserError)


def outage_seconds(error: BaseException) -> float | None:
    """Returns None unless the error means that the provider cannot be asked now, whatever the request: a cooldown, a
    rate limit, no connection, an overload, a status of 5xx. Else the seconds that it wants to be left alone, 0 if it
    does not say.

    A provider that takes a request and does not answer in time is none of these: it may work on the request, and every
    repetition may be paid for."""
    if isinstance(error, ProviderCoolingDown):
        return error.seconds
    if not isinstance(error, AttemptFailed) or not _is_away(error.fault):
        return None
    return max(0.0, error.fault.retry_after or 0.0)


def _is_away(fault: Fault) -> bool:
    if fault.status is None:
        return fault.kind in _BROKEN
    return fault.is_rate_limit or (fault.status >= 500 and fault.status not in UNRETRYABLE_STATUSES)


def _failed_attempt(failed: AttemptFailed, model: str) -> Failed:
    fault = failed.fault
    if fault.status in CALLER_FAULT_STATUSES:
        return _refusal(failed, model)
    if fault.kind == "timeout" or fault.code == "connect_timeout":
        return Failed("timeout", f"{model} did not answer in time.", retryable=True)
    if fault.kind in _BROKEN:
        return Failed("upstream_error", f"The connection to the provider of {model} failed or broke.", retryable=True)
    if fault.is_rate_limit:
        return Failed("rate_limited", f"The provider of {model} limits the gateway's rate.", retryable=True)
    if fault.status == 402:
        return Failed("upstream_error", f"The gateway's account at the provider of {model} is used up.")
    if fault.status in (401, 403):
        return Failed("upstream_error", f"The provider of {model} refuses the gateway's key.")
    if fault.status is None:
        return Failed("upstream_error", f"The provider of {model} gave no answer that can be read.", retryable=True)
    if fault.status >= 500:
        return Failed("upstream_error", f"The provider of {model} is failing.", retryable=True)
    if fault.status in _TRANSIENT_STATUSES:
        return Failed("upstream_error", f"The provider of {model} answered {fault.status}.", retryable=True)
    return Failed("bad_request", f"The provider of {model} refused the request ({fault.status}).")


def _refusal(failed: AttemptFailed, model: str) -> Failed:
    kind = refusal_kind(failed.refusal)
    status = failed.fault.status
    if kind == "too_long":
        return Failed("context_length_exceeded", f"The conversation is longer than {model} can take.")
    if status == 413:
        return Failed("context_length_exceeded", f"The conversation is larger than {model} can take.")
    if status == 404:
        return Failed("unprocessable", f"The provider knows no model {model}.")
    if kind == "filtered":
        return Failed("unprocessable", f"The provider of {model} refused to answer: its content filter objects.")
    code = "unprocessable" if status == 422 else "bad_request"
    return Failed(code, f"The provider of {model} refused the request ({status}).")
