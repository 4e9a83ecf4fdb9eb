"""What a process remembers about keys for GATEWAY_KEY_CACHE_SECONDS, so that a request does not cost a query.

Bounded (the oldest go first), unknown keys included. `clear` is called where a key or tenant changes; a look-up that
began before is not remembered after it, so a revoked key leaves this process at once and others within the time.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

from core_app.lifecycle import process_wide
from tenants_app.principal import Principal

CAPACITY = 10_000
_STRIPES = 64


@dataclass(frozen=True, slots=True)
class CachedLookup:
    """The outcome of a look-up: a principal, or `None` for "nobody gets in with this"."""

    principal: Principal | None
    loaded: float


class KeyCache:
    """Outcomes by a text key. Thread-safe; a stampede on one key makes one query."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._lookups: OrderedDict[str, CachedLookup] = OrderedDict()
        self._guard = threading.Lock()
        self._stripes = [threading.Lock() for _ in range(_STRIPES)]
        self._generation = 0

    def get(self, name: str) -> CachedLookup | None:
        """What is known about `name`, or `None` when it has to be looked up."""
        known = self._lookups.get(name)
        if known is None or self.clock() - known.loaded >= settings.GATEWAY_KEY_CACHE_SECONDS:
            return None
        return known

    def get_or_load(self, name: str, load: Callable[[], Principal | None]) -> tuple[CachedLookup, bool]:
        """What is known, looked up by `load` when need be, and whether that was done just now."""
        if known := self.get(name):
            return known, False
        with self._stripes[hash(name) % _STRIPES]:
            if known := self.get(name):
                return known, False
            generation, began = self._generation, self.clock()
            known = CachedLookup(load(), began)
            self._remember(name, known, generation)
        return known, True

    def clear(self) -> None:
        """Forgets everything, also what is being looked up at this moment."""
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
"""This process's; services clear it."""
