"""Model requests of a leg, as the meter sees them while they run and when they end without a checkpoint.

The spend of a request is no state of its stream and needs no lease: an abort takes the lease, and its request was sent
all the same. So it is written by the meter, unfenced, and a request cannot be had for nothing by aborting it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from decimal import Decimal

from agents_app.engine import Usage
from core_app.metrics import TOKENS
from inference_app.catalogue.config import models_config
from inference_app.catalogue.reported import REPORTED
from inference_app.catalogue.resolution import Candidate
from inference_app.spend.batch_write import RequestSpend
from inference_app.spend.budgets import Reservation
from inference_app.spend.metering import METER
from inference_app.spend.request_price import known_price, request_price
from inference_app.spend.usage import Usage as Tokens
from sessions_app.legs.start import LegStart
from sessions_app.models import Run

REQUESTS_PER_ATTEMPT = 100_000
FIRST_REQUEST = 1000
"""Older versions numbered the responses of a run from 1 and its summaries from 1,000,000: no number is used by both."""


def request_number(attempt: int, request: int) -> int:
    """Returns the ledger's number of a request: attempts of a run share no number, and so no row."""
    return attempt * REQUESTS_PER_ATTEMPT + FIRST_REQUEST + request


def count_tokens(usage: Usage) -> None:
    """Adds usage to the metric."""
    model = REPORTED.name(models_config(), usage.model)
    for direction, count in (("in", usage.input_tokens), ("out", usage.output_tokens)):
        TOKENS.labels(model, direction).inc(count)


class LegRequest:
    """One request; an `agents_app.engine.OpenRequest` and the meter's `RunningRequest`."""

    def __init__(self, start: LegStart, number: int, estimate: Callable[[], Usage]) -> None:
        self._run = start.run
        self._estimate = estimate
        self.number = number
        METER.begin(self)

    def end(self, usage: Usage | None = None, reservation: Reservation | None = None) -> None:
        """See `OpenRequest.end`."""
        METER.end(self)
        if usage is not None:
            count_tokens(usage)
            METER.record_spend(self._spend(usage, reservation))

    def spend_so_far(self) -> RequestSpend:
        """Returns the estimate, for an open row."""
        spend = self._spend(self._estimate(), None)
        spend.running = True
        return spend

    def _spend(self, usage: Usage, reservation: Reservation | None) -> RequestSpend:
        provider, _, model = usage.model.partition(":")
        candidate = Candidate(provider, model)

        def price(tokens: Tokens) -> Decimal | None:
            return request_price(candidate, tokens) if usage.cost_usd is None else usage.cost_usd

        def price_now(tokens: Tokens) -> Decimal | None:
            return known_price(candidate, tokens) if usage.cost_usd is None else usage.cost_usd

        return RequestSpend(
            origin="session",
            tenant_id=self._run.tenant_id,
            key_id=self._run.api_key_id,
            run_id=self._run.pk,
            number=self.number,
            candidate=candidate,
            usage=Tokens(
                usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens, usage.estimated
            ),
            price=price,
            known_price=price_now,
            names=run_names,
            reservation=reservation,
        )


def run_names(run_ids: Collection[str]) -> Mapping[str, tuple[str, str | None]]:
    """Returns the sessions and end users of runs. A closed session may be in the middle of its erasure, which has
    passed the ledger already."""
    runs = Run.objects.filter(pk__in=run_ids, session__closed_at=None)
    return {run: (ref, user) for run, ref, user in runs.values_list("pk", "session__public_id", "end_user")}
