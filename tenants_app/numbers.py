"""Short formats of numbers, for the scales of charts and the cells of tables."""

from __future__ import annotations

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
