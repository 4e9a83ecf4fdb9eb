"""How many rows a transaction takes that others wait for: bounded by a number, and by how long the last ones took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

TARGET_SECONDS = 0.03
"""SQLite's other writers wait for a whole transaction."""

MIN_ROWS = 50


class BatchSizer:
    """Halves what a transaction takes after one that lasted too long, and doubles it while they are short."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begins again with the size of a first transaction."""
        self._rows = MIN_ROWS * 8

    def limit(self, most: int) -> int:
        """How many rows the next one may take, where `most` is never exceeded."""
        return min(self._rows, most)

    @contextmanager
    def measure(self, most: int) -> Iterator[None]:
        """Around the work of one transaction, inside it: waiting for its turn holds nobody up."""
        began = time.perf_counter()
        yield
        self.record(time.perf_counter() - began, most)

    def record(self, seconds: float, most: int) -> None:
        """Takes into account how long a transaction lasted that might have taken `most` rows."""
        if seconds > TARGET_SECONDS:
            self._rows = max(MIN_ROWS, self._rows // 2)
        elif seconds < TARGET_SECONDS / 3 and self._rows < most:
            self._rows *= 2
