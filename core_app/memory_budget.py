"""A memory budget that many tasks share: bytes are reserved before they are read, so that the total stays bounded.

First come, first served. An owner that holds a reservation gets no more than half of the budget, so that a slow owner
delays only itself. A request larger than the budget, or than an owner's half, is admitted alone.
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
    admitted: asyncio.Future[None]


class MemoryBudget:
    """A budget of `total()` bytes, which is read at each reservation. Belongs to one event loop at a time."""

    def __init__(self, total: Callable[[], int]) -> None:
        self._total = total
        self._held: Counter[int] = Counter()
        self._waiting: list[_Waiter] = []

    @property
    def reserved_bytes(self) -> int:
        """The bytes that all owners hold now."""
        return self._held.total()

    @asynccontextmanager
    async def reserve(self, size: int, *, owner: int) -> AsyncIterator[None]:
        """Waits until `size` bytes are free, and holds them for the block."""
        waiter = _Waiter(owner, size, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        self._admit_waiters()
        try:
            await waiter.admitted
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            else:
                self._release(waiter)
            # Waiters behind it may fit where it did not.
            self._admit_waiters()
            raise
        try:
            yield
        finally:
            self._release(waiter)
            self._admit_waiters()

    def _admit_waiters(self) -> None:
        for waiter in list(self._waiting):
            if not self._within_half(waiter):
                continue
            if self._held and self.reserved_bytes + waiter.size > self._total():
                # No overtaking: small reservations would keep a large one waiting for ever.
                return
            self._waiting.remove(waiter)
            self._held[waiter.owner] += waiter.size
            waiter.admitted.set_result(None)

    def _within_half(self, waiter: _Waiter) -> bool:
        owned = self._held.get(waiter.owner, 0)
        return not owned or owned + waiter.size <= self._total() // 2

    def _release(self, waiter: _Waiter) -> None:
        self._held[waiter.owner] -= waiter.size
        if not self._held[waiter.owner]:
            del self._held[waiter.owner]


@cache
def return_large_blocks() -> None:
    """Makes glibc return blocks larger than LARGE_BYTES to the system as soon as they are freed. By default it keeps
    up to 64 MB for each thread: twenty runs that sent 20 MB each left the process 480 MB larger, 120 MB with this."""
    try:
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
    except (OSError, AttributeError):
        # Another C library, with another allocator.
        return
