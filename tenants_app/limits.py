"""Rate limits of API keys and tenants: per key a bucket of `rpm` tokens that refills evenly, and one per tenant beside
them, so that a tenant with six keys does not have six times the rate.

The bucket is throttled-py's GCRA, a token bucket in continuous time. Its `token_bucket` counts whole seconds and loses
the fractions, so a key of 40 rpm that sends a request every 1.5 seconds would run out. With GATEWAY_REDIS_URL all
processes share a bucket; when Redis fails or hangs, each process logs it, uses its own bucket, and tries Redis again a
second later.
"""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import structlog
from django.conf import settings
from throttled.asyncio import RedisStore
from throttled.asyncio.rate_limiter.gcra import GCRARateLimiter as SharedBuckets
from throttled.exceptions import StoreUnavailableError
from throttled.rate_limiter import RateLimitResult, per_min
from throttled.rate_limiter.gcra import GCRARateLimiter as LocalBuckets
from throttled.store import MemoryStore

from core_app.errors import RateLimited
from core_app.lifecycle import process_wide
from core_app.log_lines import error_summary
from core_app.metrics import RATE_LIMITED
from core_app.redis_errors import redis_errors
from tenants_app.principal import Principal

if TYPE_CHECKING:
    from redis.asyncio import Redis

WINDOW_SECONDS = 60
KEY_POLICY, TENANT_POLICY = "default", "tenant"
REDIS_SECONDS = 0.25
"""Longest wait of a request for Redis; a check normally takes 0.1 ms."""

RETRY_SECONDS = 1.0
LOG_SECONDS = 60.0
"""Pause between two log lines about Redis: hundreds of requests may wait for it at once."""

_CONNECTIONS = 16
_LOCAL_KEYS = 100_000

logger = structlog.get_logger("gateway.limits")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """State of a bucket after a request. `reset` is the whole seconds until the bucket is full; `policy` says whose it
    is: the key's (`default`), or that of all keys of the tenant (`tenant`)."""

    quota: int
    remaining: int
    reset: int
    limited: bool
    retry_after: int
    policy: str = KEY_POLICY

    @property
    def subject(self) -> str:
        """The owner of the limit, to begin a sentence with."""
        return "This key" if self.policy == KEY_POLICY else "The keys of this tenant together"

    def headers(self) -> list[tuple[bytes, bytes]]:
        """The two headers of the IETF draft, for an ASGI response."""
        return [
            (b"ratelimit-policy", f'"{self.policy}";q={self.quota};w={WINDOW_SECONDS}'.encode()),
            (b"ratelimit", f'"{self.policy}";r={self.remaining};t={self.reset}'.encode()),
        ]

    def enforce(self) -> None:
        """Raises RateLimited when no token was left."""
        if self.limited:
            RATE_LIMITED.inc()
            message = f"{self.subject} may make {self.quota} requests per minute; try again in {self.retry_after} s."
            raise RateLimited(message, retry_after=self.retry_after)


class RateLimits:
    """The buckets of all keys, for one event loop at a time. `close` closes the connections to Redis."""

    def __init__(self) -> None:
        self._local_store = MemoryStore(options={"MAX_SIZE": _LOCAL_KEYS})
        self._local: dict[int, LocalBuckets] = {}
        self._shared: dict[int, SharedBuckets] = {}
        self._store: RedisStore | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._redis_retry_at = 0.0
        self._log_at = 0.0

    async def take(self, principal: Principal, cost: int = 1) -> RateLimit | None:
        """Takes `cost` tokens from the principal's bucket and then from its tenant's; returns the one that has fewer
        left, or `None` when neither has a limit (`rpm` and `tenant_rpm` 0). A refused key takes nothing from its
        tenant's."""
        own = None
        if principal.rpm > 0:
            own = await self.take_from(bucket_name(principal), principal.rpm, cost)
        if principal.tenant_rpm <= 0 or (own is not None and own.limited):
            return own
        return narrower(own, await self.take_from(tenant_bucket_name(principal), principal.tenant_rpm, cost))

    async def take_from(self, name: str, rpm: int, cost: int = 1) -> RateLimit:
        """Takes `cost` tokens from the named bucket of `rpm` tokens per minute."""
        if settings.GATEWAY_REDIS_URL and time.monotonic() >= self._redis_retry_at:
            result = await self._take_shared(name, rpm, cost)
        else:
            result = self._take_local(name, rpm, cost)
        return _rate_limit(rpm, result)

    async def close(self) -> None:
        """Closes the connections to Redis; the next `take` opens new ones."""
        store, self._store = self._store, None
        self._shared.clear()
        if store is not None:
            # The store has no `close`, and its type hides the client's.
            await cast("Redis", store._backend.get_client()).connection_pool.disconnect()

    async def _take_shared(self, name: str, rpm: int, cost: int) -> RateLimitResult:
        try:
            async with asyncio.timeout(REDIS_SECONDS):
                return await self._shared_buckets(rpm).limit(name, cost)
        except redis_errors(StoreUnavailableError) as error:
            now = time.monotonic()
            self._redis_retry_at = now + RETRY_SECONDS
            if now >= self._log_at:
                self._log_at = now + LOG_SECONDS
                logger.warning("rate_limits_per_process", error=error_summary(error))
            return self._take_local(name, rpm, cost)

    def _take_local(self, name: str, rpm: int, cost: int) -> RateLimitResult:
        if rpm not in self._local:
            self._local[rpm] = LocalBuckets(per_min(rpm), self._local_store)
        return self._local[rpm].limit(name, cost)

    def _shared_buckets(self, rpm: int) -> SharedBuckets:
        loop = asyncio.get_running_loop()
        if self._store is None or self._loop is not loop:
            self._store, self._loop = _redis_store(), loop
            self._shared.clear()
        if rpm not in self._shared:
            self._shared[rpm] = SharedBuckets(per_min(rpm), self._store, key_prefix="gateway:limit")
        return self._shared[rpm]


def _redis_store() -> RedisStore:
    options = {
        "SOCKET_TIMEOUT": REDIS_SECONDS,
        "SOCKET_CONNECT_TIMEOUT": REDIS_SECONDS,
        # The default pool raises when it is exhausted, this one waits.
        "CONNECTION_POOL_CLASS": "redis.asyncio.BlockingConnectionPool",
        "CONNECTION_POOL_KWARGS": {"max_connections": _CONNECTIONS, "timeout": REDIS_SECONDS},
    }
    return RedisStore(server=settings.GATEWAY_REDIS_URL, options=options)


def narrower(own: RateLimit | None, tenant: RateLimit) -> RateLimit:
    """Returns the limit that a client meets first: of its key, or of all keys of its tenant."""
    if own is None or tenant.limited or tenant.remaining < own.remaining:
        return replace(tenant, policy=TENANT_POLICY)
    return own


def bucket_name(principal: Principal) -> str:
    """The name of the principal's bucket."""
    if principal.key_id is not None:
        return f"key {principal.key_id}"
    if principal.device_id is not None:
        return f"device {principal.device_id}"
    if principal.user_id is not None:
        return f"user {principal.user_id}"
    if principal.guest:
        return f"{principal.guest} {principal.tenant_id} {principal.key_name}"
    return f"tenant {principal.tenant_id}"


def tenant_bucket_name(principal: Principal) -> str:
    """The name of the bucket that all keys and users of the principal's tenant share."""
    return f"all of tenant {principal.tenant_id}"


def _rate_limit(rpm: int, result: RateLimitResult) -> RateLimit:
    state = result.state
    return RateLimit(
        quota=rpm,
        remaining=0 if result.limited else state.remaining,
        reset=max(1, math.ceil(state.reset_after)),
        limited=result.limited,
        retry_after=max(1, math.ceil(state.retry_after)),
    )


RATE_LIMITS = process_wide(RateLimits())
"""Process-wide instance. Requests and prompts on sockets take tokens from the same buckets."""
