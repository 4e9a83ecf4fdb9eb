"""How many requests a key may make per minute on each inference path, from buckets beside the one of its `rpm`.

Wide buckets are taken from in blocks, so that Redis is asked ten times a second at most for each key and path; what
is left of a block after a second is forgotten. Nobody waits long for Redis: the buckets fail open, per process.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core_app.lifecycle import process_wide
from inference_app.catalogue.config import ModelsConfig, RateLimit
from inference_app.request_kinds import RequestKind
from tenants_app.limits import RATE_LIMITS, RateLimits, bucket_name
from tenants_app.limits import RateLimit as Taken
from tenants_app.principal import Principal

PATHS: Mapping[RequestKind, str] = {
    "chat": "/v1/chat/completions",
    "embeddings": "/v1/embeddings",
    "responses": "/v1/responses",
    "messages": "/v1/messages",
}
"""Counting tokens costs nobody anything and has no bucket."""

DEFAULTS: Mapping[str, RateLimit] = {
    "/v1/chat/completions": RateLimit(rpm=60),
    "/v1/embeddings": RateLimit(rpm=60),
    "/v1/responses": RateLimit(rpm=30),
    "/v1/messages": RateLimit(rpm=60),
}
BLOCKS_PER_MINUTE = 600
BLOCK_SECONDS = 1.0
MAX_BLOCKS = 10_000


@dataclass(slots=True)
class _Block:
    """Tokens taken ahead."""

    left: int
    until: float
    taken: Taken


class PathLimits:
    """For one event loop."""

    def __init__(self, limits: RateLimits = RATE_LIMITS, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits = limits
        self._clock = clock
        self._blocks: OrderedDict[str, _Block] = OrderedDict()

    async def take(self, config: ModelsConfig, principal: Principal, kind: RequestKind) -> Taken | None:
        """One request's token, taken or refused (`limited`); None where nothing is limited."""
        path = PATHS.get(kind)
        limit = None if path is None else config.defaults.rate_limit.get(path, DEFAULTS.get(path))
        if limit is None or not limit.enabled or limit.rpm <= 0:
            return None
        name = f"{bucket_name(principal)} {path}"
        size = limit.rpm // BLOCKS_PER_MINUTE
        if size <= 1:
            return await self._limits.take_from(name, limit.rpm)
        return self._from_block(name) or await self._new_block(name, limit.rpm, size)

    def forget(self) -> None:
        """Gives up what was taken ahead."""
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
            # Less than a block is left: one by one from here.
            return await self._limits.take_from(name, rpm)
        self._blocks[name] = _Block(size - 1, self._clock() + BLOCK_SECONDS, taken)
        self._blocks.move_to_end(name)
        while len(self._blocks) > MAX_BLOCKS:
            self._blocks.popitem(last=False)
        return taken


PATH_LIMITS = process_wide(PathLimits(), reset=PathLimits.forget)
"""The process's."""
