"""Template filters for numbers, costs and times."""

from __future__ import annotations

from decimal import Decimal

from django.template import Library

from tenants_app.numbers import compact as compact_number
from tenants_app.numbers import dollars as dollar_amount

register = Library()


@register.filter
def compact(amount: float | None) -> str:
    """Formats a count as 950, 1.2k or 34M."""
    return "–" if amount is None else compact_number(float(amount))


@register.filter
def dollars(amount: Decimal | float | None) -> str:
    """Formats an amount in dollars."""
    return "–" if amount is None else dollar_amount(float(amount))


@register.filter
def milliseconds(ms: float | None) -> str:
    """Formats a latency as 950 ms, 1.2 s or 3 min."""
    if ms is None:
        return "–"
    if ms < 1000:
        return f"{ms:.0f} ms"
    return f"{ms / 1000:.1f} s" if ms < 100_000 else f"{ms / 60_000:.0f} min"
