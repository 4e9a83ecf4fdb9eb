"""Limits per path: the requests that a key, and all keys of a tenant, may make per minute on each inference path,
instead of their `rpm`.

From large buckets tokens are taken in blocks, so that Redis is asked at most ten times a second for each key and path;
the rest of a block is dropped after a second. Nothing waits long for Redis: without it the buckets are per process.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from core_app.lifecycle import process_wide
from inference_app.catalogue.config import ModelsConfig, RateLimit
from inference_app.request_kinds import RequestKind
from tenants_app.limits import RATE_LIMITS, RateLimits, bucket_name, narrower, tenant_bucket_name
from tenants_app.limits import RateLimit as Taken
from tenants_app.principal import Principal

LimitedPath = RequestKind | Literal["models"]

PATHS: Mapping[LimitedPath, str] = {
    "chat": "/v1/chat/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
    "count_tokens": "/v1/messages/count_tokens",
    "models": "/v1/models",
}

DEFAULTS: Mapping[str, RateLimit] = {
    "/v1/chat/completions": RateLimit(rpm=60),
    "/v1/embeddings": RateLimit(rpm=60),
    "/v1/responses": RateLimit(rpm=30),
    "/v1/messages": RateLimit(rpm=60),
    # Clients count before each message, and list models at each start.
    "/v1/messages/count_tokens": RateLimit(rpm=300),
    "/v1/models": RateLimit(rpm=300),
}
BLOCKS_PER_MINUTE = 600
BLOCK_SECONDS = 1.0
MAX_BLOCKS = 10_000


@dataclass(slots=True)
class _Block:
    """Tokens taken in advance."""

    left: int
    until: float
    taken: Taken


class PathLimits:
    """The buckets as one event loop uses them."""

    def __init__(self, limits: RateLimits = RATE_LIMITS, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._blocks: OrderedDict[str, _Block] = OrderedDict()

    async def take(self, config: ModelsConfig, principal: Principal, kind: LimitedPath) -> Taken | None:
        """Takes a token for one request. The result says if it was refused (`limited`); None: there is no limit."""
        path = PATHS[kind]
        limit = config.defaults.rate_limit.get(path, DEFAULTS[path])
        if not limit.enabled or limit.rpm <= 0:
            return None
        own = await self._take_from(f"{bucket_name(principal)} {path}", limit.rpm)
        if own.limited or not limit.of_tenant:
            return own
        return narrower(own, await self._take_from(f"{tenant_bucket_name(principal)} {path}", limit.of_tenant))

    async def _take_from(self, name: str, rpm: int) -> Taken:
        size = rpm // BLOCKS_PER_MINUTE
        if size <= 1:
            return await self._limits.take_from(name, rpm)
        return self._from_block(name) or await self._new_block(name, rpm, size)

    def forget(self) -> None:
        """Drops the tokens taken in advance."""
        self._blocks.clear()

    def _from_block(self, name: str) -> Taken | None:
        block = self._blocks.get(name)
        if block is None or block.left <= 0 or self._clock() >= block.until:
            return None
        block.left -= 1
        return block.taken

    async def _new_block(self, name: str, rpm: int, size: int) -> Taken:
        taken = await self._limits.take_from(name, rpm, size)
        if taken.limited:
            # Less than a block is left: take single tokens.
            return await self._limits.take_from(name, rpm)
        self._blocks[name] = _Block(size - 1, self._clock() + BLOCK_SECONDS, taken)
        self._blocks.move_to_end(name)
        while len(self._blocks) > MAX_BLOCKS:
            self._blocks.popitem(last=False)
        return taken


PATH_LIMITS = process_wide(PathLimits(), reset=PathLimits.forget)
"""Process-wide instance."""
