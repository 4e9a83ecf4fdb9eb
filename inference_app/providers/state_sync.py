"""What processes tell each other about providers, over Redis: circuits and cooling times, and their statistics.

Each process goes by its own memory and never waits for Redis in a request; changes are written at once and others'
read twice a second, so processes agree within about that. Without Redis, or while it is away, each goes on alone.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import orjson
import structlog
from django.conf import settings
from django.utils.module_loading import import_string

from core_app import database
from core_app.lifecycle import Periodic, process_wide
from core_app.log_lines import error_summary
from core_app.metrics import SHARED_FAILURES
from core_app.redis_errors import redis_errors
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.circuits import CIRCUITS, Circuit, Circuits
from inference_app.providers.stats import STATS, Stats

if TYPE_CHECKING:
    from redis.asyncio import Redis

POLL_SECONDS = 0.5
REDIS_SECONDS = 1.0
CIRCUIT_SECONDS = 3600.0
STATS_SECONDS = 86_400.0
"""How long what a process said is kept after its last word."""

logger = structlog.get_logger("gateway.shared")


class SharedState(Periodic):
    """The exchange of state with other processes, a part of the process (`core_app.lifecycle`)."""

    def __init__(self, circuits: Circuits = CIRCUITS, stats: Stats = STATS) -> None:
        super().__init__("shared inference state", self._share_round, POLL_SECONDS)
        self._circuits = circuits
        self._stats = stats
        self._process = secrets.token_hex(6)
        self._known: dict[Candidate, float] = {}
        """When each circuit last changed, as far as this process has said or heard."""
        self._changed: set[Candidate] = set()
        self._wake = asyncio.Event()
        self._sharing = asyncio.Lock()
        self._redis: Redis | None = None
        self._redis_away = False
        self._prefix = ""

    async def start(self) -> None:
        """Starts the exchange, if there is a Redis."""
        if not settings.GATEWAY_REDIS_URL:
            return
        self._wake, self._sharing = asyncio.Event(), asyncio.Lock()
        self._prefix = f"gateway:{await database.run(database.database_identity)}:inference"
        # Named, because an embedded gateway never loads it.
        self._redis = import_string("redis.asyncio.Redis").from_url(
            settings.GATEWAY_REDIS_URL, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
        )
        self._circuits.changed = self._note
        await super().start()

    async def stop(self) -> None:
        """Ends the exchange and forgets what other processes wrote."""
        if self._redis is None:
            return
        self._circuits.changed = lambda candidate, circuit: None
        await super().stop()
        await self._redis.aclose()
        self._redis = None
        self._known.clear()
        self._changed.clear()
        self._stats.others.clear()

    async def share(self) -> None:
        """One round: what changed here is told, what others told is learnt. Raises what Redis fails with.

        One at a time: of two at once the answer that was read first could be heard last.
        """
        async with self._sharing:
            await self._exchange()

    async def wait(self) -> None:
        """Waits for a change of this process, for POLL_SECONDS at most."""
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._wake.wait()
        except TimeoutError:
            return
        self._wake.clear()
        # Several changes of one moment go together.
        await asyncio.sleep(0.02)

    async def _exchange(self) -> None:
        redis = self._redis
        assert redis is not None
        changed, self._changed = self._changed, set()
        try:
            async with redis.pipeline(transaction=False) as pipe:
                if changed:
                    pipe.hset(f"{self._prefix}:circuits", mapping={c.name: self._told(c) for c in changed})
                pipe.hset(f"{self._prefix}:stats", self._process, orjson.dumps(self._stats.raw()))
                pipe.hgetall(f"{self._prefix}:circuits")
                pipe.hgetall(f"{self._prefix}:stats")
                *_, circuits, stats = await pipe.execute()
        except BaseException:
            self._changed |= changed
            raise
        await self._learn(redis, circuits)
        await self._hear(redis, stats)

    def _note(self, candidate: Candidate, circuit: Circuit) -> None:
        self._known[candidate] = self._circuits.clock()
        self._changed.add(candidate)
        self._wake.set()

    def _told(self, candidate: Candidate) -> bytes:
        circuit = self._circuits.get(candidate)
        state = [circuit.failures, circuit.open_until, circuit.cool_until, circuit.probes, circuit.probed_at]
        return orjson.dumps([self._known[candidate], *state])

    async def _learn(self, redis: Redis, told: dict[bytes, bytes]) -> None:
        now, old = self._circuits.clock(), []
        for name, value in told.items():
            at, failures, open_until, cool_until, probes, probed_at = orjson.loads(value)
            provider, _, model = name.decode().partition(":")
            candidate = Candidate(provider, model)
            if at > self._known.get(candidate, 0.0):
                self._known[candidate] = at
                self._circuits.learn(candidate, Circuit(failures, open_until, cool_until, probes, probed_at))
            if now - at > CIRCUIT_SECONDS:
                self._known.pop(candidate, None)
                old.append(name)
        if old:
            await redis.hdel(f"{self._prefix}:circuits", *old)

    async def _hear(self, redis: Redis, told: dict[bytes, bytes]) -> None:
        now, old, others = self._stats.clock(), [], []
        for process, value in told.items():
            raw: dict[str, Any] = orjson.loads(value)
            if now - raw["at"] > STATS_SECONDS:
                old.append(process)
            elif process.decode() != self._process:
                others.append(raw)
        self._stats.others[:] = others
        if old:
            await redis.hdel(f"{self._prefix}:stats", *old)

    async def _share_round(self) -> None:
        await self.share()
        if self._redis_away:
            logger.info("provider_state_shared_again")
            self._redis_away = False

    def _log_failure(self, error: Exception) -> None:
        """Counts an outage of Redis and logs it once: a round comes twice a second, and an outage may take a night."""
        if not isinstance(error, redis_errors()):
            super()._log_failure(error)
            return
        SHARED_FAILURES.inc()
        if not self._redis_away:
            logger.warning("provider_state_not_shared", reason="Redis does not answer", error=error_summary(error))
        self._redis_away = True


SHARED = process_wide(SharedState())
"""The process's."""
