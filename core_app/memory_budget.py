"""Memory that many tasks share: bytes are held before they are read, so that together they stay within a bound.

First come, first served, and one owner never holds more than half while it holds anything: whoever reads slowly keeps
nobody but itself waiting. What is larger than the room, or than an owner's half, is let in alone.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

_M_MMAP_THRESHOLD = -3
LARGE_BYTES = 1024 * 1024


@dataclass(slots=True, eq=False)
class _Waiter:
    owner: int
    size: int
    let_in: asyncio.Future[None]


class MemoryBudget:
    """Belongs to one event loop at a time; `total` is asked each time, in bytes."""

    def __init__(self, total: Callable[[], int]) -> None:
        self._total = total
        self._held: Counter[int] = Counter()
        self._waiting: list[_Waiter] = []

    @property
    def reserved_bytes(self) -> int:
        """What is held now, by all."""
        return self._held.total()

    @asynccontextmanager
    async def reserve(self, size: int, *, owner: int) -> AsyncIterator[None]:
        """Holds `size` bytes for the block, after waiting until there is room for them."""
        waiter = _Waiter(owner, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._let_in()
        try:
            await waiter.let_in
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:
                self._leave(waiter)
            # Those behind it may fit where it did not.
            self._let_in()
            raise
        try:
            yield
        finally:
            self._leave(waiter)
            self._let_in()

    def _let_in(self) -> None:
        for waiter in list(self._waiting):
            if not self._within_half(waiter):
                continue
            if self._held and self.reserved_bytes + waiter.size > self._total():
                # Nobody overtakes: small ones would keep a large one waiting for ever.
                return
            self._waiting.remove(waiter)
            self._held[waiter.owner] += waiter.size
            waiter.let_in.set_result(None)

    def _within_half(self, waiter: _Waiter) -> bool:
        mine = self._held.get(waiter.owner, 0)
        return not mine or mine + waiter.size <= self._total() // 2

    def _leave(self, waiter: _Waiter) -> None:
        self._held[waiter.owner] -= waiter.size
        if not self._held[waiter.owner]:
            del self._held[waiter.owner]


@cache
def return_large_blocks() -> None:
    """Has glibc give back what is larger than LARGE_BYTES as soon as it is freed. By itself it keeps such blocks, up to
    64 MB for each thread: twenty runs that sent 20 MB each left the process 480 MB larger, 120 with this."""
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
    except (OSError, AttributeError):
        # Another C library, with another allocator.
        return
