"""Admission of a request: the key's limit on the path, before its body is read; then a reservation in the budgets,
before a provider is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal

from core_app.header_pairs import HeaderPairs
from inference_app.catalogue.config import ModelsConfig, models_config
from inference_app.catalogue.resolution import Candidate
from inference_app.errors import PathRateLimited
from inference_app.relay.envelope import Envelope
from inference_app.request_kinds import RequestKind
from inference_app.spend.budgets import BUDGETS, Reservation, model_names
from inference_app.spend.path_limits import PATH_LIMITS, LimitedPath
from inference_app.spend.price_list import known_rates
from inference_app.spend.prices import estimated_cost
from inference_app.spend.usage import Usage
from tenants_app.principal import Principal

OUTPUT_TOKENS, MAX_OUTPUT_TOKENS = 1000, 32_000
"""Output tokens to reserve: the number without a bound of the client, and the highest."""


@dataclass(slots=True)
class Admission:
    """An admitted request. `headers` say what is left; `reservation` is settled at the end of the call."""

    headers: HeaderPairs = field(default_factory=list)
    reservation: Reservation | None = None

    def bind_settlement(self, candidate: Candidate) -> Callable[[Usage, Decimal | None], None] | None:
        """Returns the function that settles the reservation with the usage and the cost of a call at `candidate`."""
        if self.reservation is None:
            return None
        self.reservation.candidate = candidate
        return self.reservation.settle

    async def allows(self, principal: Principal, candidate: Candidate) -> bool:
        """True if the budgets allow another candidate than the one that the call was admitted for."""
        if not BUDGETS.has_rules(principal):
            return True
        held = () if self.reservation is None else self.reservation.windows
        return not await BUDGETS.is_exhausted_beside(principal, model_names(candidate), held)

    def release(self) -> None:
        """Gives the reservation back, because no provider was asked."""
        if self.reservation is not None:
            self.reservation.release()


async def take_token(principal: Principal, path: LimitedPath) -> HeaderPairs:
    """Takes a token of the path's bucket, whatever becomes of the request, and returns the headers with the bucket's
    state. Raises PathRateLimited."""
    limit = await PATH_LIMITS.take(models_config(), principal, path)
    if limit is None:
        return []
    if limit.limited:
        raise PathRateLimited(limit)
    return limit.headers()


async def admit(
    config: ModelsConfig, principal: Principal, kind: RequestKind, envelope: Envelope, first: Candidate
) -> Admission:
    """Reserves the estimate in every budget; raises MinuteBudgetSpent or BudgetSpent."""
    if not BUDGETS.has_rules(principal):
        return Admission()
    output = min(envelope.output_bound or OUTPUT_TOKENS, MAX_OUTPUT_TOKENS)
    provider, rates = config.providers[first.provider], known_rates(first)
    usd = estimated_cost(provider, first.model, envelope.input_estimate, output, rates)
    names = (envelope.model, *model_names(first))
    reservation = await BUDGETS.reserve(principal, names, envelope.input_estimate + output, usd)
    return Admission([] if reservation is None else budget_headers(reservation), reservation)


def budget_headers(reservation: Reservation) -> HeaderPairs:
    """Returns the headers with what is left of the narrowest budget, before this call."""
    tokens, usd = reservation.left
    headers: HeaderPairs = [] if tokens is None else [(b"x-gateway-budget-tokens-left", b"%d" % tokens)]
    return headers if usd is None else [*headers, (b"x-gateway-budget-usd-left", f"{usd:.6f}".encode())]
