"""The circuit of a candidate for the agent loop: the same circuit as that of relayed calls.

A provider's fault counts against it, a 429 starts a cooldown, the request's own mistake counts as a response, and an
end that says nothing about the provider (an abort, a lost lease) does not count.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pydantic_ai.exceptions import (
    ContentFilterError,
    ModelAPIError,
    ModelContextWindowExceededError,
    ModelHTTPError,
    ModelNotFoundError,
    ModelRateLimitError,
    UserError,
)

from agents_app.failures import PROVIDER_ERRORS
from inference_app.catalogue.config import BreakerPolicy, RetryPolicy
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.circuits import CIRCUITS
from inference_app.providers.retry_policy import CALLER_FAULT_STATUSES, MAX_COOLDOWN_SECONDS

_REQUESTS_OWN = (ContentFilterError, ModelContextWindowExceededError, ModelNotFoundError)


@dataclass(frozen=True, slots=True)
class ProviderCircuit:
    """The circuit of one candidate; an `agents_app.ready_model.Circuit`."""

    candidate: Candidate
    breaker: BreakerPolicy
    retry: RetryPolicy

    def cooldown_remaining(self) -> float | None:
        """Returns the seconds until the candidate may be asked; None: now."""
        return CIRCUITS.blocked_for(self.candidate, self.breaker)

    @contextmanager
    def observe_request(self) -> Iterator[None]:
        """Surrounds one request, whose result changes the circuit."""
        CIRCUITS.begin(self.candidate)
        try:
            yield
        except PROVIDER_ERRORS as error:
            self._note_failure(error)
            raise
        except BaseException:
            CIRCUITS.note_abandoned(self.candidate)
            raise
        CIRCUITS.note_success(self.candidate)

    def _note_failure(self, error: BaseException) -> None:
        if isinstance(error, ModelRateLimitError) or _status(error) == 429:
            asked = error.retry_after if isinstance(error, ModelAPIError) else None
            seconds = self.retry.base_delay_ms / 1000 if asked is None else min(max(0.0, asked), MAX_COOLDOWN_SECONDS)
            CIRCUITS.cool(self.candidate, seconds)
            CIRCUITS.note_abandoned(self.candidate)
        elif isinstance(error, UserError):
            # The request was never sent.
            CIRCUITS.note_abandoned(self.candidate)
        elif isinstance(error, _REQUESTS_OWN) or _status(error) in CALLER_FAULT_STATUSES:
            CIRCUITS.note_success(self.candidate)
        else:
            CIRCUITS.note_failure(self.candidate, self.breaker)


def _status(error: BaseException) -> int | None:
    return error.status_code if isinstance(error, ModelHTTPError) else None
