"""Prices of responses: the configured price of a provider's model, else the public price list.

Prices are in US dollars per million tokens. A model that neither knows costs None, never zero.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from inference_app.catalogue.config import Price, ProviderEntry

_MILLION = Decimal(1_000_000)


def response_cost(
    provider: ProviderEntry,
    model: str,
    *,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int,
    listed: Decimal | None,
) -> Decimal | None:
    """Returns the price of one response; `listed` is its price by the public list. `cached_tokens` are part of
    `input_tokens`."""
    entry = provider.model(model)
    if entry is None or entry.price is None:
        return listed
    return configured_cost(entry.price, input_tokens, output_tokens, min(cached_tokens, input_tokens))


def estimated_cost(
    provider: ProviderEntry, model: str, input_tokens: int, output_tokens: int, rates: tuple[Decimal, Decimal] | None
) -> Decimal:
    """Returns the likely price of a request; zero if no price is known. `rates` are those of the public list."""
    entry = provider.model(model)
    if entry is not None and entry.price is not None:
        return configured_cost(entry.price, input_tokens, output_tokens, 0)
    return Decimal(0) if rates is None else rates[0] * input_tokens + rates[1] * output_tokens


def configured_cost(price: Price, input_tokens: int, output_tokens: int, cached_tokens: int) -> Decimal:
    """Returns the price of a usage by a configured price; `cached_tokens` are part of `input_tokens`."""
    cached = price.input if price.cached is None else price.cached
    total = (
        _exact(price.input) * (input_tokens - cached_tokens)
        + _exact(cached) * cached_tokens
        + _exact(price.output) * output_tokens
    )
    return total / _MILLION


@lru_cache(maxsize=1024)
def _exact(price: float) -> Decimal:
    return Decimal(str(price))
