"""Cache of key look-ups for GATEWAY_KEY_CACHE_SECONDS, so that a request does not cost a query.

It is bounded, evicts the oldest, and includes unknown keys. Changes of keys and tenants call `clear`; a look-up that
began before is not stored, so a revoked key stops at once in this process and in others when their entry expires.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.conf import settings

from core_app.lifecycle import process_wide
from tenants_app.principal import Principal

CAPACITY = 10_000
_STRIPES = 64


@dataclass(frozen=True, slots=True)
class CachedLookup:
    """The outcome of a look-up: a principal, or `None` for a key that is not accepted."""

    principal: Principal | None
    loaded: float


class KeyCache:
    """Look-ups by name. Thread-safe; concurrent look-ups of one name make one query."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lookups: OrderedDict[str, CachedLookup] = OrderedDict()
        self._guard = threading.Lock()
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._generation = 0

    def get(self, name: str, share: float = 1.0) -> CachedLookup | None:
        """Returns the entry for `name`, or `None` when there is none that is still valid, or none in the first `share`
        of its time."""
        known = self._lookups.get(name)
        if known is None or self.clock() - known.loaded >= settings.GATEWAY_KEY_CACHE_SECONDS * share:
            return None
        return known

    def get_or_load(
        self, name: str, load: Callable[[], Principal | None], share: float = 1.0
    ) -> tuple[CachedLookup, bool]:
        """Returns the entry for `name` and `True` when `load` was called for it."""
        if known := self.get(name, share):
            return known, False
        with self._stripes[hash(name) % _STRIPES]:
            if known := self.get(name, share):
                return known, False
            generation, began = self._generation, self.clock()
            known = CachedLookup(load(), began)
            self._remember(name, known, generation)
        return known, True

    def load_many(self, names: Sequence[str], load: Callable[[], Sequence[Principal | None]]) -> None:
        """Stores what `load` returns, in the order of the names, unless the cache was cleared meanwhile."""
        generation, began = self._generation, self.clock()
        for name, principal in zip(names, load(), strict=True):
            self._remember(name, CachedLookup(principal, began), generation)

    def clear(self) -> None:
        """Removes all entries; look-ups in progress are not stored."""
        with self._guard:
            self._generation += 1
            self._lookups.clear()

    def _remember(self, name: str, known: CachedLookup, generation: int) -> None:
        with self._guard:
            if generation != self._generation:
                return
            self._lookups[name] = known
            self._lookups.move_to_end(name)
            while len(self._lookups) > CAPACITY:
                self._lookups.popitem(last=False)


KEY_CACHE = process_wide(KeyCache(), reset=KeyCache.clear)
"""Process-wide instance; `tenants_app.services` clears it."""
