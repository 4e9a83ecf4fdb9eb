"""The limit of wrong credentials per client address: beyond it they get 429, and good ones are served as before.

The address is the client's as the gateway believes it (GATEWAY_TRUSTED_PROXIES); for IPv6 its network of 64 bits. All
processes share the count when they share Redis. Credentials that were good before are never held up; a new one from an
address over the limit waits until the others of such addresses have been looked up, one after the other, so that
guessing takes one database thread at most.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from typing import TypeVar

from django.conf import settings

from core_app.addresses import client_group
from core_app.errors import RateLimited, Unauthorized
from core_app.lifecycle import process_wide
from core_app.metrics import FAILED_KEYS as COUNTER
from edge_app.http.asgi import Scope
from tenants_app.authentication import aprincipal_for_credential
from tenants_app.limits import RATE_LIMITS, RateLimits
from tenants_app.principal import Principal

CAPACITY = 10_000
"""Addresses over the limit, and good credentials, that a process remembers; the oldest are forgotten first."""

MAX_WAITING = 16
"""Look-ups that wait for their turn; further ones get 429 at once."""

T = TypeVar("T")


class FailedKeys:
    """The addresses over the limit and the credentials that were good. Belongs to the loop."""

    def __init__(self, limits: RateLimits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._blocked: OrderedDict[str, float] = OrderedDict()
        self._good: OrderedDict[int, None] = OrderedDict()
        self._turn: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None
        self._waiting = 0

    async def principal(self, scope: Scope, secret: str | None) -> Principal:
        """Returns the key's principal; raises Unauthorized for a wrong key, and RateLimited instead of it when the
        address has sent too many."""
        if secret is None:
            return await aprincipal_for_credential(secret)
        return await self.check(scope, secret, lambda: aprincipal_for_credential(secret))

    async def check(self, scope: Scope, credential: str, look_up: Callable[[], Awaitable[T]]) -> T:
        """Does the same for any credential; `look_up` raises Unauthorized for a wrong one."""
        address = _address(scope)
        if address is None:
            return await look_up()
        # Python's hash is salted per process: credentials themselves are not kept.
        mark = hash(credential)
        wait = self._wait_of(address) if self._blocked and mark not in self._good else 0
        if not wait:
            return await self._try(address, mark, look_up)
        if self._waiting >= MAX_WAITING:
            raise _refusal(wait)
        self._waiting += 1
        try:
            async with self._lock():
                return await self._try(address, mark, look_up)
        finally:
            self._waiting -= 1

    def reset(self) -> None:
        """Forgets all addresses and credentials."""
        self._blocked.clear()
        self._good.clear()

    async def _try(self, address: str, mark: int, look_up: Callable[[], Awaitable[T]]) -> T:
        try:
            found = await look_up()
        except Unauthorized:
            await self._count(address)
            raise
        if found is not None and mark not in self._good:
            self._good[mark] = None
            if len(self._good) > CAPACITY:
                self._good.popitem(last=False)
        return found

    async def _count(self, address: str) -> None:
        """Counts a wrong credential; raises RateLimited beyond the limit."""
        limit = await self._limits.take_from(f"failed-key {address}", settings.GATEWAY_FAILED_KEYS_PER_MINUTE)
        if not limit.limited:
            COUNTER.labels("refused").inc()
            return
        self._blocked[address] = self._clock() + limit.retry_after
        self._blocked.move_to_end(address)
        if len(self._blocked) > CAPACITY:
            self._blocked.popitem(last=False)
        raise _refusal(limit.retry_after)

    def _wait_of(self, address: str) -> float:
        """Returns the seconds for which the address is over the limit."""
        wait = self._blocked.get(address, 0.0) - self._clock()
        if wait > 0:
            return wait
        self._blocked.pop(address, None)
        return 0

    def _lock(self) -> asyncio.Lock:
        loop = asyncio.get_running_loop()
        if self._turn is None or self._turn[0] is not loop:
            self._turn = loop, asyncio.Lock()
        return self._turn[1]


def _address(scope: Scope) -> str | None:
    """Returns the address to count; None without one, as on a UNIX socket, where it would be everybody's."""
    client = scope.get("client")
    return client_group(client[0]) if client and client[0] else None


def _refusal(wait: float) -> RateLimited:
    COUNTER.labels("limited").inc()
    seconds = max(1, math.ceil(wait))
    return RateLimited(
        f"This address has sent too many wrong keys (GATEWAY_FAILED_KEYS_PER_MINUTE); try again in {seconds} s.",
        retry_after=seconds,
    )


FAILED_KEYS = process_wide(FailedKeys(RATE_LIMITS), reset=FailedKeys.reset)
"""Process-wide instance. The gate asks it for every credential, and so do faces that check one in a message."""
