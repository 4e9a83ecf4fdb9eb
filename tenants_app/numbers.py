"""Limits of the numbers in the ledger, and their short formats for the scales of charts and the cells of tables."""

from __future__ import annotations

from decimal import Decimal

MAX_TOKENS = 10**9
"""The limit of one request's tokens, which no model comes near. A larger number is a provider's mistake, and would not
fit the sums of a day."""

MAX_USD = Decimal(1_000_000)
"""The limit of one request's cost, for the same reason."""

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def compact(amount: float) -> str:
    """Formats a count in at most five characters: 950, 1.2k, 34M."""
    for size, unit in _UNITS:
        if amount >= size:
            return f"{amount / size:.1f}".removesuffix(".0") + unit
    return f"{amount:.2f}".rstrip("0").rstrip(".") if amount else "0"


def dollars(amount: float) -> str:
    """Formats an amount in dollars; amounts below a cent keep their significant digits."""
    if amount == 0 or amount >= 0.01:
        return f"${amount:,.2f}"
    return f"${amount:.8f}".rstrip("0").rstrip(".")


def bounded_tokens(count: int) -> int:
    """Returns a count of tokens between 0 and MAX_TOKENS."""
    return 0 if count < 0 else count if count < MAX_TOKENS else MAX_TOKENS


def bounded_usd(cost: Decimal | None) -> Decimal | None:
    """Returns a cost between 0 and MAX_USD; None for one that is unknown or no number."""
    if cost is None or not cost.is_finite():
        return None
    return min(max(cost, Decimal(0)), MAX_USD)
