"""Prices of responses: the configured price of a provider's model, else the public price list.

Prices are in US dollars per million tokens. A model that neither knows costs None, never zero.
"""

from __future__ import annotations

from decimal import Decimal
from functools import lru_cache

from inference_app.catalogue.config import Price, ProviderEntry
from inference_app.spend.usage import Usage

_MILLION = Decimal(1_000_000)
WRITE_FACTOR, HOUR_FACTOR = Decimal("1.25"), Decimal(2)
"""The price of input that is written to a cache, for minutes and for an hour, in prices of plain input."""


def response_cost(
    provider: ProviderEntry,
    model: str,
    *,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int,
    listed: Decimal | None,
    written_tokens: int = 0,
) -> Decimal | None:
    """Returns the price of one response; `listed` is its price by the public list. `cached_tokens` and
    `written_tokens`, which the provider has read from and written to its cache, are part of `input_tokens`."""
    entry = provider.model(model)
    if entry is None or entry.price is None:
        return listed
    cached = min(cached_tokens, input_tokens)
    written = min(written_tokens, input_tokens - cached)
    return configured_cost(entry.price, Usage(input_tokens, output_tokens, cached, written=written))


def estimated_cost(
    provider: ProviderEntry, model: str, input_tokens: int, output_tokens: int, rates: tuple[Decimal, Decimal] | None
) -> Decimal:
    """Returns the likely price of a request; zero if no price is known. `rates` are those of the public list."""
    entry = provider.model(model)
    if entry is not None and entry.price is not None:
        return configured_cost(entry.price, Usage(input_tokens, output_tokens))
    return Decimal(0) if rates is None else rates[0] * input_tokens + rates[1] * output_tokens


def configured_cost(price: Price, usage: Usage) -> Decimal:
    """Returns the price of a usage by a configured price."""
    cached_price = price.input if price.cached is None else price.cached
    cached = min(usage.cached, usage.input)
    total = (
        _exact(price.input) * (usage.input - cached - usage.written - usage.written_hour)
        + _exact(cached_price) * cached
        + _exact(price.output) * usage.output
    )
    if usage.written or usage.written_hour:
        total += written_rate(_exact(price.input), price.cache_write) * usage.written
        total += written_rate(_exact(price.input), price.cache_write_hour, hour=True) * usage.written_hour
    return total / _MILLION


def written_rate(input_rate: Decimal, configured: float | None, *, hour: bool = False) -> Decimal:
    """Returns the price of a token that is written to the provider's cache; `configured` is the operator's own."""
    return _exact(configured) if configured is not None else input_rate * (HOUR_FACTOR if hour else WRITE_FACTOR)


@lru_cache(maxsize=1024)
def _exact(price: float) -> Decimal:
    return Decimal(str(price))
