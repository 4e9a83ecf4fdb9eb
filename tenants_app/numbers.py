"""Numbers in the few characters that a chart's scale or a table's cell has."""

from __future__ import annotations

_UNITS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def compact(amount: float) -> str:
    """A count in at most five characters: 950, 1.2k, 34M."""
    for size, unit in _UNITS:
        if amount >= size:
            return f"{amount / size:.1f}".removesuffix(".0") + unit
    return f"{amount:.2f}".rstrip("0").rstrip(".") if amount else "0"


def dollars(amount: float) -> str:
    """Money; small amounts keep the digits that say something."""
    if amount == 0 or amount >= 0.01:
        return f"${amount:,.2f}"
    return f"${amount:.8f}".rstrip("0").rstrip(".")
