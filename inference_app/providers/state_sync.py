"""State about providers that processes share over Redis: circuits with their cooldowns, and statistics.

Each process decides by its own memory and never waits for Redis in a request. It writes its changes at once and reads
those of others twice a second, so processes agree within about that time. Without Redis, or during an outage, each
continues alone.
"""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import astuple
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
from inference_app.providers.call_window import Calls, sum_calls
from inference_app.providers.circuit_state import Circuit, Key
from inference_app.providers.circuits import CIRCUITS, Circuits
from inference_app.providers.stats import ALIVE_SECONDS, STATS, Stats

if TYPE_CHECKING:
    from redis.asyncio import Redis

POLL_SECONDS = 0.5
REDIS_SECONDS = 1.0
CIRCUIT_SECONDS = 600.0
STATS_SECONDS = 86_400.0
"""The times after which entries that are not renewed are removed; a circuit stays as long as it blocks."""

logger = structlog.get_logger("gateway.shared")


class SharedState(Periodic):
    """The exchange of state with other processes, a part of the process (`core_app.lifecycle`)."""

    def __init__(self, circuits: Circuits = CIRCUITS, stats: Stats = STATS) -> None:
        super().__init__("shared inference state", self._share_round, POLL_SECONDS)
        self._circuits = circuits
        self._stats = stats
        self._process = secrets.token_hex(6)
        self._known: dict[Key, float] = {}
        """The time of each circuit's last change that this process has written or read."""
        self._changed: set[Key] = set()
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
        self._redis_away = False
        self._prefix = f"gateway:{await database.run(database.database_identity)}:inference"
        # Imported by name, because an embedded gateway never loads it.
        self._redis = import_string("redis.asyncio.Redis").from_url(
            settings.GATEWAY_REDIS_URL, socket_timeout=REDIS_SECONDS, socket_connect_timeout=REDIS_SECONDS
        )
        self._circuits.changed = self._note
        await super().start()

    async def stop(self) -> None:
        """Ends the exchange and forgets what other processes wrote."""
        if self._redis is None:
            return
        self._circuits.changed = lambda key, circuit: None
        await super().stop()
        await self._redis.aclose()
        self._redis = None
        self._known.clear()
        self._changed.clear()
        self._stats.others.clear()

    async def share(self) -> None:
        """Writes the changes of this process and reads those of others once; raises the errors of Redis.

        Only one exchange runs at a time: with two at once, the older result could be applied last.
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
                    pipe.hset(f"{self._prefix}:breakers", mapping={_field(k): self._encode_circuit(k) for k in changed})
                pipe.hset(f"{self._prefix}:stats", self._process, orjson.dumps(self._stats.to_shared()))
                pipe.hset(f"{self._prefix}:windows", self._process, self._encode_windows())
                pipe.hgetall(f"{self._prefix}:breakers")
                pipe.hgetall(f"{self._prefix}:stats")
                pipe.hgetall(f"{self._prefix}:windows")
                *_, breakers, stats, windows = await pipe.execute()
        except BaseException:
            self._changed |= changed
            raise
        await self._read_circuits(redis, breakers)
        await self._read_windows(redis, windows)
        await self._read_stats(redis, stats)

    def _note(self, key: Key, circuit: Circuit) -> None:
        self._known[key] = self._circuits.clock()
        self._changed.add(key)
        self._wake.set()

    def _encode_circuit(self, key: Key) -> bytes:
        return orjson.dumps([self._known[key], *astuple(self._circuits.get(key))])

    def _encode_windows(self) -> bytes:
        """Encodes the calls that this process counted. Only candidates with failed calls are in it."""
        found = {candidate.name: list(calls.items()) for candidate, calls in self._circuits.window_report().items()}
        return orjson.dumps([self._circuits.clock(), found])

    async def _read_circuits(self, redis: Redis, stored: dict[bytes, bytes]) -> None:
        now, old = self._circuits.clock(), []
        for field, value in stored.items():
            at, *state = orjson.loads(value)
            key, circuit = _key(field.decode()), Circuit(*state)
            if at > self._known.get(key, 0.0):
                self._known[key] = at
                self._circuits.learn(key, circuit)
            if now - at > CIRCUIT_SECONDS and circuit.blocked_until < now:
                self._known.pop(key, None)
                old.append(field)
        if old:
            await redis.hdel(f"{self._prefix}:breakers", *old)

    async def _read_windows(self, redis: Redis, stored: dict[bytes, bytes]) -> None:
        now, old = self._circuits.clock(), []
        others: dict[Candidate, list[Calls]] = {}
        for process, value in stored.items():
            at, found = orjson.loads(value)
            if now - at > ALIVE_SECONDS:
                old.append(process)
            elif process.decode() != self._process:
                for name, calls in found.items():
                    others.setdefault(_candidate(name), []).append({tenant: tuple(count) for tenant, count in calls})
        self._circuits.other_windows = {candidate: sum_calls(parts) for candidate, parts in others.items()}
        if old:
            await redis.hdel(f"{self._prefix}:windows", *old)

    async def _read_stats(self, redis: Redis, stored: dict[bytes, bytes]) -> None:
        now, old, others = self._stats.clock(), [], []
        for process, value in stored.items():
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


def _field(key: Key) -> str:
    """Returns the field of a circuit. Names of providers have no slash."""
    return f"{'' if key.tenant_id is None else key.tenant_id}/{key.candidate.name}"


def _key(field: str) -> Key:
    tenant, _, name = field.partition("/")
    return Key(int(tenant) if tenant else None, _candidate(name))


def _candidate(name: str) -> Candidate:
    provider, _, model = name.partition(":")
    return Candidate(provider, model)


SHARED = process_wide(SharedState())
"""Process-wide instance, started by `Gateway`."""
