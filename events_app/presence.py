"""Presence: who is connected to a tenant, or to something else with a number, now, over all processes.

It is ephemeral: nothing of it is in the database. In an embedded gateway it is this process's own list. With Redis each
tenant has a hash of its members, whose entries are refreshed by the process that serves them, so those of a killed
process disappear after STALE_SECONDS. While Redis is away each process shows its own members.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import orjson
import structlog
from django.conf import settings

from core_app import database
from core_app.lifecycle import Periodic, process_wide
from core_app.log_lines import error_summary
from core_app.redis_client import redis_client
from core_app.redis_errors import redis_errors

if TYPE_CHECKING:
    from redis.asyncio import Redis

REFRESH_SECONDS = 20.0
STALE_SECONDS = 60.0
REDIS_SECONDS = 1.0

Member = Mapping[str, Any]
"""The description of a member that is shown to others: an object of JSON."""

logger = structlog.get_logger("gateway.presence")


class Presence(Periodic):
    """The members of this process, and the view of all. Belongs to the loop.

    `name` keeps several presences apart; `place_id` is the number of what their members are connected to.
    """

    def __init__(
        self, name: str = "presence", *, refresh_seconds: float = REFRESH_SECONDS, stale_seconds: float = STALE_SECONDS
    ) -> None:
        super().__init__(name, self._refresh, refresh_seconds, first=False, failed=_log_failure)
        self._stale_seconds = stale_seconds
        self._local: dict[int, dict[str, Member]] = {}
        self._redis: Redis | None = None
        self._prefix = ""

    async def start(self) -> None:
        """Starts to refresh this process's entries."""
        if settings.GATEWAY_REDIS_URL:
            self._prefix = f"gateway:{self.name}:{await database.run(database.database_identity)}"
            self._redis = redis_client(settings.GATEWAY_REDIS_URL, seconds=REDIS_SECONDS)
        await super().start()

    async def stop(self) -> None:
        """Removes this process's entries and closes the connection."""
        await super().stop()
        redis, self._redis = self._redis, None
        members = [(place_id, name) for place_id, of_place in self._local.items() for name in of_place]
        self._local.clear()
        if redis is None:
            return
        try:
            async with redis.pipeline(transaction=False) as pipe:
                for place_id, name in members:
                    pipe.hdel(self._key(place_id), name)
                await pipe.execute()
        except redis_errors() as error:
            _log_failure(error)
        await redis.aclose()

    async def enter(self, place_id: int, name: str, member: Member) -> None:
        """Adds a member, or replaces what is shown of it; `name` is unique in all processes."""
        self._local.setdefault(place_id, {})[name] = member
        await self._write(place_id, {name: member})

    async def leave(self, place_id: int, name: str) -> None:
        """Removes a member of this process."""
        members = self._local.get(place_id, {})
        members.pop(name, None)
        if not members:
            self._local.pop(place_id, None)
        if self._redis is not None:
            try:
                await self._redis.hdel(self._key(place_id), name)
            except redis_errors() as error:
                _log_failure(error)

    async def members(self, place_id: int) -> Sequence[Member]:
        """Returns the members of a place in the order of their names."""
        found = dict(self._local.get(place_id, {}))
        if self._redis is not None:
            try:
                found = await self._read(place_id) | found
            except redis_errors() as error:
                _log_failure(error)
        return [found[name] for name in sorted(found)]

    def _key(self, place_id: int) -> str:
        return f"{self._prefix}:{place_id}"

    async def _read(self, place_id: int) -> dict[str, Member]:
        assert self._redis is not None
        stored = await self._redis.hgetall(self._key(place_id))
        oldest, found, stale = time.time() - self._stale_seconds, {}, []
        for name, value in cast("dict[bytes, bytes]", stored).items():
            entry = orjson.loads(value)
            if entry["at"] < oldest:
                stale.append(name)
            else:
                found[name.decode()] = entry["member"]
        if stale:
            await self._redis.hdel(self._key(place_id), *stale)
        return found

    async def _write(self, place_id: int, members: Mapping[str, Member]) -> None:
        if self._redis is None or not members:
            return
        now = time.time()
        entries: dict[Any, Any] = {
            name: orjson.dumps({"at": now, "member": member}) for name, member in members.items()
        }
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.hset(self._key(place_id), mapping=entries)
                pipe.expire(self._key(place_id), int(self._stale_seconds * 2))
                await pipe.execute()
        except redis_errors() as error:
            _log_failure(error)

    async def _refresh(self) -> None:
        for place_id in list(self._local):
            written = dict(self._local.get(place_id, {}))
            await self._write(place_id, written)
            for name in written.keys() - self._local.get(place_id, {}).keys():
                await self.leave(place_id, name)  # it left while it was written


def _log_failure(error: Exception) -> None:
    logger.warning("presence_of_this_process_only", error=error_summary(error))


PRESENCE = process_wide(Presence())
"""Process-wide instance, started by `Gateway`."""
