"""A benchmark's figure with its reference and its budget, as a line and as JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Figure:
    """One measured value. `budget` in the same unit; `better` says on which side of it is good.

    `reference` is what the same work took without the gateway in the same minute; None where there is no such thing.
    """

    name: str
    value: float
    unit: str
    reference: float | None = None
    reference_name: str = ""
    budget: float | None = None
    better: Literal["lower", "higher"] = "lower"

    @property
    def kept(self) -> bool | None:
        """True when the budget is kept; None without one."""
        if self.budget is None:
            return None
        return self.value <= self.budget if self.better == "lower" else self.value >= self.budget

    def to_wire(self) -> dict[str, Any]:
        """Returns the figure for `--json`."""
        return {**asdict(self), "kept": self.kept}

    def line(self) -> str:
        """Returns the figure as a line of text."""
        sign = "≤" if self.better == "lower" else "≥"
        budget = f"{sign} {three_digits(self.budget)}" if self.budget is not None else ""
        verdict = {True: "kept", False: "MISSED", None: ""}[self.kept]
        reference = f"{three_digits(self.reference)} ({self.reference_name})" if self.reference is not None else ""
        return f"  {self.name:<58} {three_digits(self.value):>9} {self.unit:<13} {budget:<10} {verdict:<7} {reference}"


def three_digits(value: float | None) -> str:
    """Formats a number with three significant digits."""
    if value is None:
        return ""
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{max(0, 2 - int(math.log10(max(value, 0.01))))}f}"


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the value that `share` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, math.ceil(share * len(ordered)) - 1)]
