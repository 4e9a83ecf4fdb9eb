"""The price of a request at a candidate: by the configuration, else by the public list."""

from __future__ import annotations

from decimal import Decimal

from inference_app.catalogue.config import Price, models_config
from inference_app.catalogue.resolution import Candidate
from inference_app.spend.price_list import known_rates, listed_price
from inference_app.spend.prices import configured_cost
from inference_app.spend.usage import Usage


def request_price(candidate: Candidate, usage: Usage) -> Decimal | None:
    """Returns the price; None if nobody knows it. It may block, while the public list is loaded."""
    price = _configured(candidate)
    return listed_price(candidate, usage) if price is None else _by(price, usage)


def known_price(candidate: Candidate, usage: Usage) -> Decimal | None:
    """Returns the price as far as it is known without waiting; by the list it is exact only for short requests."""
    price = _configured(candidate)
    if price is not None:
        return _by(price, usage)
    rates = known_rates(candidate)
    return None if rates is None else rates[0] * usage.input + rates[1] * usage.output


def _configured(candidate: Candidate) -> Price | None:
    provider = models_config().providers.get(candidate.provider)
    entry = None if provider is None else provider.model(candidate.model)
    return None if entry is None else entry.price


def _by(price: Price, usage: Usage) -> Decimal:
    return configured_cost(price, usage.input, usage.output, min(usage.cached, usage.input))
