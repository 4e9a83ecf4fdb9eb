"""The circuits of a candidate for the agent loop: the same as those of relayed calls.

A request that a provider failed counts against it once, however often it was tried. A 429 starts a cooldown, the
request's own mistake counts as a response, and an end that says nothing about the provider (an abort, a lost lease)
does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelConnectionError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelRateLimitError,
    UserError,
)

from agents_app.failures import PROVIDER_ERRORS, ProviderCoolingDown
from inference_app.catalogue.config import BreakerPolicy, RetryPolicy
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.retry_policy import CALLER_FAULT_STATUSES, MAX_COOLDOWN_SECONDS

_REQUESTS_OWN = (ContentFilterError, ModelContextWindowExceededError, ModelNotFoundError)


@dataclass(frozen=True, slots=True)
class ProviderCircuit:
    """The circuits of one candidate for one tenant; an `agents_app.ready_model.Circuit`."""

    candidate: Candidate
    breaker: BreakerPolicy
    retry: RetryPolicy
    tenant_id: int

    def cooldown_remaining(self) -> float | None:
        """Returns the seconds until the candidate may be asked; None: now."""
        return CIRCUITS.blocked_for(self.candidate, self.breaker, self.tenant_id)

    @contextmanager
    def observe_request(self) -> Iterator[None]:
        """Surrounds one try of a request. A failed one counts only when `note_failed_request` says that it was the
        last."""
        CIRCUITS.begin(self.candidate, self.tenant_id)
        try:
            yield
        except PROVIDER_ERRORS as error:
            self._note_failed_try(error)
            raise
        except BaseException:
            CIRCUITS.note_abandoned(self.candidate, self.tenant_id)
            raise
        CIRCUITS.note_success(self.candidate, self.tenant_id)

    def note_failed_request(self, error: BaseException) -> None:
        """Counts a request that failed for good, if the provider is at fault."""
        if _is_providers_fault(error):
            connecting = isinstance(error, ModelConnectionError) and error.phase == "connect"
            CIRCUITS.note_failure(self.candidate, self.breaker, self.tenant_id, connecting=connecting)

    def _note_failed_try(self, error: BaseException) -> None:
        if _is_rate_limit(error):
            asked = error.retry_after if isinstance(error, ModelAPIError) else None
            seconds = self.retry.base_delay_ms / 1000 if asked is None else min(max(0.0, asked), MAX_COOLDOWN_SECONDS)
            CIRCUITS.cool(self.candidate, seconds, self.tenant_id)
        if _is_requests_own(error):
            CIRCUITS.note_success(self.candidate, self.tenant_id)
        else:
            CIRCUITS.note_abandoned(self.candidate, self.tenant_id)


def _is_rate_limit(error: BaseException) -> bool:
    return isinstance(error, ModelRateLimitError) or _status(error) == 429


def _is_requests_own(error: BaseException) -> bool:
    """True if the provider responded, and the request is at fault."""
    return isinstance(error, _REQUESTS_OWN) or _status(error) in CALLER_FAULT_STATUSES


def _is_providers_fault(error: BaseException) -> bool:
    """False also for a request that was never sent, and for the end of a leg."""
    unsent = isinstance(error, UserError | ProviderCoolingDown)
    return isinstance(error, PROVIDER_ERRORS) and not (unsent or _is_rate_limit(error) or _is_requests_own(error))


def _status(error: BaseException) -> int | None:
    return error.status_code if isinstance(error, ModelHTTPError) else None
