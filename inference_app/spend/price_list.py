"""The public price list, with its rates cached for an hour, because a look-up takes a quarter of a millisecond.

A model that it does not know costs None, never zero. It is loaded at first use, in a thread that may wait for it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from decimal import Decimal
from importlib import import_module
from typing import Any

from inference_app.catalogue.resolution import Candidate
from inference_app.spend.prices import HOUR_FACTOR, WRITE_FACTOR
from inference_app.spend.usage import Usage

KEPT_SECONDS = 3600.0
MAX_KEPT = 10_000

_NAMES = {"gemini": "google", "xai": "x-ai", "together": "together"}
"""Names of shipped providers in the list, where they differ."""

EXACT_TOKENS = 100_000
"""The input up to which the price per token is constant for every model, so that rates are exact."""

_SAMPLE = 100_000
ANTHROPIC = "anthropic"


@dataclass(frozen=True, slots=True)
class _Rates:
    """US dollars per token for short requests, and the list's own calculation for long ones."""

    input: Decimal
    cached: Decimal
    written: Decimal
    output: Decimal
    exact: Any


_known: dict[Candidate, tuple[float, _Rates | None]] = {}
_windows: dict[Candidate, int | None] = {}


def listed_price(candidate: Candidate, usage: Usage) -> Decimal | None:
    """Returns the price of a usage by the list; None for an unknown model. It may block."""
    rates = _rates(candidate)
    if rates is None:
        return None
    hour = (HOUR_FACTOR * rates.input - rates.written) * usage.written_hour
    if usage.input > EXACT_TOKENS:
        total = _total(rates.exact, usage)
        return None if total is None else total + hour
    written = usage.written + usage.written_hour
    fresh = rates.input * (usage.input - usage.cached - written) + rates.cached * usage.cached
    return fresh + rates.written * written + hour + rates.output * usage.output


def listed_window(candidate: Candidate) -> int | None:
    """Returns the model's context window in tokens by the list; None for an unknown model. It may block at first."""
    if candidate not in _windows:
        if len(_windows) >= MAX_KEPT:
            _windows.clear()
        _windows[candidate] = _look_up_window(candidate)
    return _windows[candidate]


def load_price_list() -> None:
    """Loads the list, which takes a tenth of a second."""
    _look_up(Candidate("openai", "gpt-4o-mini"))


def known_rates(candidate: Candidate) -> tuple[Decimal, Decimal] | None:
    """Returns US dollars per input and output token if they are cached. It never blocks; for the hot path."""
    known = _known.get(candidate)
    return None if known is None or known[1] is None else (known[1].input, known[1].output)


def _rates(candidate: Candidate) -> _Rates | None:
    known = _known.get(candidate)
    now = time.monotonic()
    if known is not None and now - known[0] < KEPT_SECONDS:
        return known[1]
    if len(_known) >= MAX_KEPT:
        _known.clear()
    rates = _look_up(candidate)
    _known[candidate] = (now, rates)
    return rates


def _look_up(candidate: Candidate) -> _Rates | None:
    prices = import_module("genai_prices")
    provider = _NAMES.get(candidate.provider, candidate.provider)
    try:
        found = prices.calc_price(_list_usage(prices, Usage(1, 1)), candidate.model, provider_id=provider).model_price
    except (LookupError, ValueError):
        return None
    sample = Decimal(_SAMPLE)
    samples = (
        Usage(_SAMPLE, 0),
        Usage(_SAMPLE, 0, cached=_SAMPLE),
        Usage(_SAMPLE, 0, written=_SAMPLE),
        Usage(0, _SAMPLE),
    )
    one = [_total(found, usage) for usage in samples]
    if any(cost is None for cost in one):
        return None
    given, cached, written, output = (cost / sample for cost in one if cost is not None)
    if candidate.provider == ANTHROPIC and written <= given:
        # The list does not know the price of writing for every model.
        written = WRITE_FACTOR * given
    return _Rates(given, cached, written, output, found)


def _look_up_window(candidate: Candidate) -> int | None:
    snapshot = import_module("genai_prices.data_snapshot").get_snapshot()
    provider = _NAMES.get(candidate.provider, candidate.provider)
    try:
        _, found = snapshot.find_provider_model(candidate.model, None, provider, None)
    except (LookupError, ValueError):
        return None
    window: int | None = found.context_window
    return window or None


def _total(price: Any, usage: Usage) -> Decimal | None:
    try:
        cost: Decimal = price.calc_price(_list_usage(import_module("genai_prices"), usage))["total_price"]
    except (LookupError, ValueError, TypeError):
        return None
    return cost


def _list_usage(prices: Any, usage: Usage) -> Any:
    return prices.Usage(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cached or None,
        cache_write_tokens=usage.written + usage.written_hour or None,
    )
