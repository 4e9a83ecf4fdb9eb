"""Many followers of a few slow sessions, and clients that all reconnect at the same moment.

Each client takes a file descriptor here and one in a web process, which bounds their number (`room`).
"""

from __future__ import annotations

import asyncio
import random
import resource
from collections import Counter

import aiohttp

from tests.stack.client import Event
from tests.stack.load import Load, Refused
from tests.stack.reader import Reader

SPARE_DESCRIPTORS = 2000
RECONNECT_SECONDS = 600.0
FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 16.0


def room() -> int:
    """Returns how many connections this process may have beside those of the load."""
    return max(0, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS)


class Crowd:
    """Followers of the sessions of a load."""

    def __init__(self, load: Load, chance: random.Random) -> None:
        self.load = load
        self._readers: list[Reader] = []
        self._chance = chance

    def follow(self, count: int) -> None:
        """Opens followers, of each session in turn."""
        names = list(self.load.accepted)
        self._readers += [self.load.follow(names[number % len(names)]) for number in range(count)]

    async def reconnect(self, count: int) -> Counter[str]:
        """All followers leave, and `count` clients come at once; returns how often they were served and refused.

        Each goes on where a follower of its session is, until it is served and was shown that nothing is missing.
        """
        for reader in self._readers:
            reader.sleeps()
        outcomes: Counter[str] = Counter()
        names = list(self.load.accepted)
        more = [names[number % len(names)] for number in range(max(0, count - len(self._readers)))]
        for reader in self._readers:
            reader.wakes()
        async with asyncio.timeout(RECONNECT_SECONDS), asyncio.TaskGroup() as group:
            for name in more:
                group.create_task(self._come_back(name, outcomes))
        return outcomes

    async def _come_back(self, name: str, outcomes: Counter[str]) -> None:
        seen = self.load.watchers[name]
        position, offset = seen.position, len(seen.events)
        pause = FIRST_PAUSE_SECONDS
        while True:
            try:
                async for event in self.load.client.follow(name, position):
                    if isinstance(event, Event):
                        assert event.id == offset + 1, f"{name}: {event.position} came after {position}"
                        outcomes["served"] += 1
                        return
                outcomes["ended"] += 1
            except Refused:
                outcomes["refused"] += 1
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                outcomes["broken"] += 1
            await asyncio.sleep(self._chance.uniform(0, pause))
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
