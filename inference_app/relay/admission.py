"""Admission of a request: the key's limit on the path, before its body is read; then a reservation in the budgets,
before a provider is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core_app.header_pairs import HeaderPairs
from inference_app.catalogue.config import ModelEntry, ModelsConfig, models_config
from inference_app.catalogue.resolution import Candidate
from inference_app.conversion.requests.token_limit import token_limit
from inference_app.errors import PathRateLimited
from inference_app.relay.envelope import Envelope
from inference_app.request_kinds import RequestKind
from inference_app.spend.budgets import BUDGETS, Reservation, model_names
from inference_app.spend.output_limit import OutputLimit, output_limit
from inference_app.spend.path_limits import PATH_LIMITS, LimitedPath
from inference_app.spend.price_list import known_rates
from inference_app.spend.prices import estimated_cost
from tenants_app.numbers import MAX_TOKENS
from tenants_app.principal import Principal


@dataclass(slots=True)
class Admission:
    """An admitted request. `headers` say what is left; `reservation` is settled at the end of the call.

    `output_limit` are the tokens that limit the completion, for a request that has no limit and whose tenant has a
    budget."""

    headers: HeaderPairs = field(default_factory=list)
    reservation: Reservation | None = None
    output_limit: int | None = None

    def limit_field(self, kind: RequestKind, model: str) -> Mapping[str, int]:
        """Returns the field that tells the provider about `output_limit`, in the wire of the client."""
        if self.output_limit is None:
            return {}
        if kind == "chat":
            return token_limit(model, self.output_limit)
        return {"max_tokens" if kind == "messages" else "max_output_tokens": self.output_limit}

    def reservation_for(self, candidate: Candidate) -> Reservation | None:
        """Returns the reservation, to be settled with the spend of a call at `candidate`."""
        if self.reservation is not None:
            self.reservation.candidate = candidate
        return self.reservation

    async def allows(self, principal: Principal, candidate: Candidate) -> bool:
        """True if the budgets allow another candidate than the one that the call was admitted for, whose budgets then
        have the reservation, too."""
        if self.reservation is None:
            return True
        return await BUDGETS.extend(self.reservation, principal.tenant_id, principal.key_id, model_names(candidate))

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
    """Reserves the most that the request may cost in every budget; raises MinuteBudgetSpent or BudgetSpent, and
    BadRequest for a limit that cannot be reserved."""
    if kind == "count_tokens" or not BUDGETS.has_rules(principal.tenant_id):
        return Admission()
    # Without a budget the provider decides: to some, -1 is a limit.
    envelope.limits_check()
    provider, rates = config.providers[first.provider], known_rates(first)
    bound = _output_limit(kind, envelope, provider.model(first.model))
    output = min(bound.tokens * envelope.completions, MAX_TOKENS)
    usd = estimated_cost(provider, first.model, envelope.input_estimate, output, rates)
    names = (envelope.model, *model_names(first))
    tokens = envelope.input_estimate + output
    reservation = await BUDGETS.reserve(principal.tenant_id, principal.key_id, names, tokens, usd)
    headers = [] if reservation is None else budget_headers(reservation)
    return Admission(headers, reservation, bound.tokens if bound.sent else None)


def _output_limit(kind: RequestKind, envelope: Envelope, model: ModelEntry | None) -> OutputLimit:
    return OutputLimit(0) if kind == "embeddings" else output_limit(envelope.output_bound, model)


def budget_headers(reservation: Reservation) -> HeaderPairs:
    """Returns the headers with what is left of the narrowest budget, before this call."""
    tokens, usd = reservation.left
    headers: HeaderPairs = [] if tokens is None else [(b"x-gateway-budget-tokens-left", b"%d" % tokens)]
    return headers if usd is None else [*headers, (b"x-gateway-budget-usd-left", f"{usd:.6f}".encode())]
