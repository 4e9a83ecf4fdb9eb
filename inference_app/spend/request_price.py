"""The price of a request at a candidate: by the configuration, else by the public list."""

from __future__ import annotations

from decimal import Decimal

from inference_app.catalogue.config import Price, ProviderEntry, models_config
from inference_app.catalogue.resolution import Candidate
from inference_app.spend.price_list import known_rates, listed_price
from inference_app.spend.prices import configured_cost
from inference_app.spend.usage import Usage


def request_price(candidate: Candidate, usage: Usage, provider: ProviderEntry | None = None) -> Decimal | None:
    """Returns the price; None if nobody knows it. `provider` is the configuration with which the request began, by
    default the present one. It may block, while the public list is loaded."""
    price = _configured(candidate, provider)
    return listed_price(candidate, usage) if price is None else configured_cost(price, usage)


def known_price(candidate: Candidate, usage: Usage, provider: ProviderEntry | None = None) -> Decimal | None:
    """Returns the price as far as it is known without waiting; by the list it is exact only for short requests."""
    price = _configured(candidate, provider)
    if price is not None:
        return configured_cost(price, usage)
    rates = known_rates(candidate)
    return None if rates is None else rates[0] * usage.input + rates[1] * usage.output


def _configured(candidate: Candidate, provider: ProviderEntry | None) -> Price | None:
    provider = provider or models_config().providers.get(candidate.provider)
    entry = None if provider is None else provider.model(candidate.model)
    return None if entry is None else entry.price
