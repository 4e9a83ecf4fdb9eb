"""Adaptive batch size for background transactions that block others, based on how long recent ones took."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

TARGET_SECONDS = 0.03
"""The longest that a batch should take: SQLite's other writers wait for the whole transaction."""

MIN_ROWS = 50


class BatchSizer:
    """Halves the batch after a transaction that took too long, and doubles it while transactions are short."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Starts again with the size of a first batch."""
        self._rows = MIN_ROWS * 8

    def limit(self, most: int) -> int:
        """Returns how many rows the next batch may have, `most` at most."""
        return min(self._rows, most)

    @contextmanager
    def measure(self, most: int) -> Iterator[None]:
        """Times the block, which belongs inside the transaction: waiting for the write lock blocks nobody."""
        began = time.perf_counter()
        yield
        self.record(time.perf_counter() - began, most)

    def record(self, seconds: float, most: int) -> None:
        """Adapts the size to a transaction that took `seconds` and could have had `most` rows."""
        if seconds > TARGET_SECONDS:
            self._rows = max(MIN_ROWS, self._rows // 2)
        elif seconds < TARGET_SECONDS / 3 and self._rows < most:
            self._rows *= 2
