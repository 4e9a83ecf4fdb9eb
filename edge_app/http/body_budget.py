"""Memory for request bodies: the bytes that all requests of the process hold, bounded in all and for each tenant.

Bytes count as they arrive, not as they are announced, so that a slow sender holds only what it has sent. A request that
finds no room is refused at once and told when to try again: waiting would hold its connection and what it has sent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from django.conf import settings

from core_app.errors import RateLimited, Unavailable
from core_app.lifecycle import process_wide
from core_app.memory_budget import LARGE_BYTES, return_large_blocks
from core_app.metrics import BODIES_REFUSED

FREE_BYTES = 64 * 1024
"""The first bytes of each body do not count: most bodies are smaller, and the server holds as much for a connection."""

RETRY_SECONDS = 2


class BodyBudget:
    """A budget of `total()` bytes, at most half of it for one owner, which alone may hold one body of any size."""

    def __init__(self, total: Callable[[], int]) -> None:
        self._total = total
        self._held: Counter[int | None] = Counter()

    @property
    def held_bytes(self) -> int:
        """The bytes that all owners hold now."""
        return self._held.total()

    def open_share(self, owner: int | None) -> BodyShare:
        """Returns the share of one request of a tenant; None owns the bodies of requests without a key."""
        return BodyShare(self, owner)

    def check(self, owner: int | None, size: int, own: int = 0) -> None:
        """Raises RateLimited or Unavailable if the owner may not hold `size` bytes more, beside the `own` ones of the
        same body."""
        total, held, all_held = self._total(), self._held[owner], self._held.total()
        if held > own and held + size > total // 2:
            BODIES_REFUSED.labels("tenant").inc()
            raise RateLimited(_message("your"), retry_after=RETRY_SECONDS)
        if all_held > own and all_held + size > total:
            BODIES_REFUSED.labels("all").inc()
            raise Unavailable(_message("all"), retry_after=RETRY_SECONDS)

    def hold(self, owner: int | None, size: int) -> None:
        """Adds to what the owner holds, or takes off it."""
        self._held[owner] += size
        if not self._held[owner]:
            del self._held[owner]


class BodyShare:
    """The bytes that one request holds. `release` may be called more than once."""

    __slots__ = ("_budget", "_held", "_owner")

    def __init__(self, budget: BodyBudget, owner: int | None) -> None:
        self._budget = budget
        self._owner = owner
        self._held = 0

    def expect(self, size: int) -> None:
        """Refuses a body of an announced size for which there is no room now; holds nothing."""
        if size > FREE_BYTES:
            self._budget.check(self._owner, size)

    def grow_to(self, size: int) -> None:
        """Holds `size` bytes in all; raises RateLimited or Unavailable when there is no room for them."""
        if size > FREE_BYTES:
            if size > LARGE_BYTES:
                return_large_blocks()
            more = size - self._held
            self._budget.check(self._owner, more, self._held)
            self._budget.hold(self._owner, more)
            self._held = size

    def release(self) -> None:
        """Gives the bytes back."""
        if self._held:
            held, self._held = self._held, 0
            self._budget.hold(self._owner, -held)


def _message(whose: str) -> str:
    return f"GATEWAY_BODY_MEMORY_BYTES has no room for another body beside {whose} requests in progress; try again."


BODIES = process_wide(BodyBudget(lambda: settings.GATEWAY_BODY_MEMORY_BYTES))
"""Process-wide instance."""
