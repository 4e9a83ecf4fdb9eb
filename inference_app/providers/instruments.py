"""The Prometheus instruments of calls to providers, by provider and model.

Labels are bounded: models that the operator did not configure are `other`, and so are providers that are not in the
configuration. The children of the instruments are remembered by candidate, because looking them up by labels costs more
than counting.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core_app.lifecycle import process_wide
from core_app.metrics import (
    PROVIDER_COST,
    PROVIDER_FAILED_ATTEMPTS,
    PROVIDER_FIRST_BYTE_SECONDS,
    PROVIDER_REQUESTS,
    PROVIDER_RETRIES,
    PROVIDER_SECONDS,
    PROVIDER_TOKENS,
)
from inference_app.catalogue.config import ModelsConfig, models_config
from inference_app.catalogue.reported import OTHER, REPORTED
from inference_app.catalogue.resolution import Candidate
from inference_app.spend.usage import Usage

MAX_REMEMBERED = 1024


@dataclass(frozen=True, slots=True)
class _Children:
    labels: tuple[str, str]
    seconds: Any
    first_byte: Any
    input: Any
    output: Any
    cached: Any
    cost: Any


class ProviderInstruments:
    """The instruments, for one configuration at a time."""

    def __init__(self) -> None:
        self._config: ModelsConfig | None = None
        self._known: dict[Candidate, _Children] = {}

    def record_call(self, candidate: Candidate, outcome: str, total_ms: float, first_byte_ms: float | None) -> None:
        """Counts a relayed call that has ended."""
        children = self._of(candidate)
        PROVIDER_REQUESTS.labels(*children.labels, outcome).inc()
        if outcome == "ok":
            children.seconds.observe(total_ms / 1000)
        if first_byte_ms is not None:
            children.first_byte.observe(first_byte_ms / 1000)

    def record_failed_attempt(self, candidate: Candidate, reason: str) -> None:
        """Counts a failed attempt; `reason` is one of a few words."""
        PROVIDER_FAILED_ATTEMPTS.labels(*self._of(candidate).labels, reason).inc()

    def record_retry(self, candidate: Candidate) -> None:
        """Counts an attempt after another one of the same call."""
        PROVIDER_RETRIES.labels(*self._of(candidate).labels).inc()

    def record_usage(self, candidate: Candidate, usage: Usage) -> None:
        """Counts the tokens of a request that has ended."""
        children = self._of(candidate)
        children.input.inc(usage.input)
        children.output.inc(usage.output)
        if usage.cached:
            children.cached.inc(usage.cached)

    def record_cost(self, candidate: Candidate, usd: Decimal | None) -> None:
        """Adds the cost of a request, if it is known."""
        if usd:
            self._of(candidate).cost.inc(float(usd))

    def labels(self, candidate: Candidate) -> tuple[str, str]:
        """Returns the labels `provider` and `model`."""
        return self._of(candidate).labels

    def _of(self, candidate: Candidate) -> _Children:
        config = models_config()
        if config is not self._config or len(self._known) > MAX_REMEMBERED:
            self._config, self._known = config, {}
        children = self._known.get(candidate)
        if children is None:
            children = self._known[candidate] = _children(config, candidate)
        return children


def _children(config: ModelsConfig, candidate: Candidate) -> _Children:
    provider = candidate.provider if candidate.provider in config.providers else OTHER
    labels = provider, REPORTED.model(config, candidate)
    return _Children(
        labels,
        PROVIDER_SECONDS.labels(*labels),
        PROVIDER_FIRST_BYTE_SECONDS.labels(*labels),
        PROVIDER_TOKENS.labels(*labels, "input"),
        PROVIDER_TOKENS.labels(*labels, "output"),
        PROVIDER_TOKENS.labels(*labels, "cached"),
        PROVIDER_COST.labels(*labels),
    )


INSTRUMENTS = process_wide(ProviderInstruments())
"""Process-wide instance."""
