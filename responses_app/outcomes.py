"""Outcomes of a leg whose attempt failed: it waits for its provider, begins again, or ends the response."""

from __future__ import annotations

from functools import partial

from django.conf import settings

from agents_app.engine import Failed, Leg, LegOutcome
from core_app import jsontext
from core_app.errors import GatewayError, Unavailable
from inference_app.errors import MinuteBudgetSpent, NoProvider, ProviderFailed
from responses_app.attempts import attempt_count_break

_WAITED_FOR = (408, 429)
"""Statuses below 500 of a provider that may answer later."""


class Broken(Exception):
    """The provider's stream ended before its end."""


async def broken_outcome(leg: Leg, pk: int, error: GatewayError | None) -> LegOutcome:
    """Returns the outcome of an attempt whose stream broke off: another one, unless that has been tried enough."""
    if error is not None and not _is_waited_for(error):
        return failed_outcome(error)
    limit: int = settings.GATEWAY_MAX_ATTEMPTS
    reason = "The provider broke its answer off." if error is None else error.message
    if await leg.transact(partial(attempt_count_break, pk)) >= limit:
        reason = f"{reason} It has done so {limit} times (GATEWAY_MAX_ATTEMPTS)."
        return Failed("upstream_error", reason, retryable=True)
    return Failed("upstream_error", reason, retryable=True, resume_after=0.0)


def failed_outcome(error: GatewayError) -> Failed:
    """Returns the outcome of an attempt that got no answer: a wait for what passes, else the end."""
    waits = (error.retry_after or 0.0) if _is_waited_for(error) else None
    return Failed(error.code, jsontext.clean_text(error.message), error.retryable, waits)


def _is_waited_for(error: GatewayError) -> bool:
    """True for a fault that passes: providers that are down, resting or limit the rate, and a minute's budget."""
    if isinstance(error, ProviderFailed):
        status = error.provider_status
        return status is None or status >= 500 or status in _WAITED_FOR
    return isinstance(error, NoProvider | MinuteBudgetSpent | Unavailable)
