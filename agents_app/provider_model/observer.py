"""The record of a run's request while its candidate is asked: attempts, their spend, and the word to the circuits."""

from __future__ import annotations

import time

import structlog

from agents_app.ready_model import Spans, Spending
from core_app.tracing import Span
from inference_app.catalogue.config import ProviderEntry
from inference_app.providers.fault_sentences import fault_sentence
from inference_app.relay.admission import Admission
from inference_app.relay.attempt import AttemptFailed
from inference_app.relay.targets import Target
from inference_app.relay.verdict import CallVerdict

logger = structlog.get_logger("gateway.agents")


class RequestObserver:
    """An `inference_app.relay.asking.AttemptObserver`. Its admission is empty: the run's budgets have admitted the
    request, and its limit is among the settings."""

    def __init__(self, tenant_id: int, spending: Spending, spans: Spans) -> None:
        self.attempts = 0
        self.admission = Admission()
        self.verdict = CallVerdict(tenant_id)
        self._spans = spans
        self._spending = spending
        self._provider: ProviderEntry | None = None
        self._started = time.monotonic()

    @property
    def span(self) -> Span:
        """The span of the running attempt."""
        return self._spans.current

    def elapsed_seconds(self) -> float:
        """Seconds since the request started."""
        return time.monotonic() - self._started

    def start(self, target: Target, provider: ProviderEntry) -> None:
        """Notes an attempt that starts now."""
        self.attempts += 1
        self._provider = provider
        self._spending.begin()
        self._spans.start()

    def fail(self, target: Target, failed: AttemptFailed, *, free: bool) -> None:
        """Notes a failed attempt, and what it may have cost."""
        fault = failed.fault
        self._spending.end_attempt(may_have_cost=fault.may_have_cost and not free)
        self._spans.end(failed)
        assert self._provider is not None
        logger.warning(
            "attempt_failed",
            candidate=target.candidate.name,
            attempt=self.attempts,
            reason=fault.kind,
            code=fault.code,
            told=fault_sentence(target.candidate.provider, self._provider, fault),
            status=fault.status,
            counted=not (free or fault.is_rate_limit or failed.refusal is not None),
        )
