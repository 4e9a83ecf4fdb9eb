"""Lockout of an address that has failed too often to sign in under one identity.

It is for the pair only: an attacker locks out neither the owner of the identity at another address, nor others at its
own. An IPv6 address counts as its network of 64 bits, of which one customer has all addresses. Attempts of a pair go
one after the other: sent at once, all of them would pass the check before the first failure is counted. With
GATEWAY_REDIS_URL all processes count together; while Redis does not answer, each counts for itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog
from django.conf import settings

from core_app.addresses import client_group
from core_app.errors import BadRequest, RateLimited, Unauthorized
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from core_app.metrics import RATE_LIMITED
from core_app.redis_client import redis_client
from core_app.redis_errors import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

FAILURES = 5
WINDOW_SECONDS = 300
"""Failures count together for this long from the first one on, and the lock lasts as long from the last one on."""

CAPACITY = 100_000
"""Pairs that a process counts for itself; beyond it the oldest is forgotten."""

REDIS_SECONDS = 0.5

logger = structlog.get_logger("gateway.sign_in")


class _Turn:
    """The lock of one pair, while somebody uses it."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Lockout(Part):
    """Counts of failures by address and identity, for one event loop at a time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._local: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._redis: Redis | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._turns: dict[str, _Turn] = {}

    @asynccontextmanager
    async def attempt(self, address: str, identity: str) -> AsyncIterator[None]:
        """Waits for the pair's turn, in which the block attempts to sign in; counts it as failed when it raises
        Unauthorized or BadRequest. Raises RateLimited while the pair is locked."""
        pair = _pair(address, identity)
        turn = self._turns.setdefault(pair, _Turn())
        turn.users += 1
        try:
            async with turn.lock:
                await self._check(pair)
                try:
                    yield
                except (Unauthorized, BadRequest):
                    await self._count_failure(pair)
                    raise
        finally:
            turn.users -= 1
            if not turn.users:
                self._turns.pop(pair, None)

    async def _check(self, pair: str) -> None:
        count, seconds = self._count(pair)
        if settings.GATEWAY_REDIS_URL and count < FAILURES:
            try:
                async with self._client().pipeline(transaction=False) as pipe:
                    pipe.get(pair)
                    pipe.ttl(pair)
                    shared, left = await pipe.execute()
                count, seconds = int(shared or 0), max(0, left)
            except redis_errors() as error:
                logger.warning("lockout_per_process", error=error_summary(error))
        if count >= FAILURES:
            RATE_LIMITED.inc()
            wait = max(1, round(seconds))
            raise RateLimited(f"Too many failed attempts to sign in; try again in {wait} s.", retry_after=wait)

    async def _count_failure(self, pair: str) -> None:
        self._count_locally(pair)
        if settings.GATEWAY_REDIS_URL:
            try:
                client = self._client()
                count = await client.incr(pair)
                if count in (1, FAILURES):
                    await client.expire(pair, WINDOW_SECONDS)
            except redis_errors() as error:
                logger.warning("lockout_per_process", error=error_summary(error))

    async def stop(self) -> None:
        """Closes the connections to Redis; the next use opens new ones."""
        redis, self._redis = self._redis, None
        if redis is not None:
            await redis.aclose()

    def clear(self) -> None:
        """Forgets what this process has counted for itself."""
        self._local.clear()
        self._turns.clear()

    def _count(self, pair: str) -> tuple[int, float]:
        count, ends = self._local.get(pair, (0, 0.0))
        left = ends - self._clock()
        return (count, left) if left > 0 else (0, 0.0)

    def _count_locally(self, pair: str) -> None:
        count, left = self._count(pair)
        count += 1
        lasts = WINDOW_SECONDS if count in (1, FAILURES) else left
        self._local[pair] = count, self._clock() + lasts
        self._local.move_to_end(pair)
        while len(self._local) > CAPACITY:
            self._local.popitem(last=False)

    def _client(self) -> Redis:
        loop = asyncio.get_running_loop()
        if self._redis is None or self._loop is not loop:
            self._loop = loop
            self._redis = redis_client(settings.GATEWAY_REDIS_URL, seconds=REDIS_SECONDS)
        return self._redis


def _pair(address: str, identity: str) -> str:
    """Returns the pair's name, hashed: an identity is whatever a client sends."""
    digest = hashlib.sha256(f"{client_group(address)}\n{identity}".encode("utf-8", "replace")).hexdigest()
    return f"gateway:lockout:{digest[:40]}"


LOCKOUT = process_wide(Lockout(), reset=Lockout.clear)
"""Process-wide instance."""
