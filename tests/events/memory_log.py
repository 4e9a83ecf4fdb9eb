"""A log in memory, and a hub that delivers from it what the test lets through: the follower's surroundings without a
database or a channel layer."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest

from events_app import hub as hub_module
from events_app.batches import Batch, StoredEvent
from events_app.gaps import Gap
from events_app.generations import NO_GENERATIONS, Generations
from events_app.hub import Hub
from events_app.log import Page
from events_app.positions import StreamPosition


class MemoryLog:
    """Streams with offsets 1, 2, 3 …; `reads` are the offsets after which a follower read, `repairs` the gaps that the
    hub read together.

    `rewind` is a restore or a failover. Generations in `lost` began on a server that is not in use any more.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: dict[int, list[StoredEvent]] = {}
        self.reads: list[tuple[int, int]] = []
        self.repairs: list[Sequence[Gap]] = []
        self.generation = 0
        self.generations: dict[int, Generations] = {}
        self.lost: set[int] = set()
        self.hub = Hub()
        monkeypatch.setattr("events_app.follower.log.read_page", self._read_page)
        monkeypatch.setattr("events_app.follower.position", self.position)
        monkeypatch.setattr("events_app.positions.generation_is_known", lambda generation: generation not in self.lost)
        monkeypatch.setattr("events_app.follower.database.run", self._run)
        monkeypatch.setattr("events_app.hub.database.run", self._run)
        monkeypatch.setattr(hub_module, "heads", self._heads)
        monkeypatch.setattr(hub_module, "gaps_read", self._read_gaps)

    def commit(self, stream_id: int, count: int) -> Batch:
        """Appends events, of which nobody hears yet."""
        stream = self.events.setdefault(stream_id, [])
        first = len(stream) + 1
        generations = self.generations.get(stream_id, NO_GENERATIONS)
        if count and generations.newest < self.generation:
            generations = self.generations[stream_id] = generations.begin(self.generation, len(stream))
        newest = generations.newest
        stream += [
            StoredEvent(stream_id, first + n, "message_delta", "run_1", b"{}", None, newest) for n in range(count)
        ]
        return Batch(stream_id, stream[first - 1 :], generations)

    def rewind(self, stream_id: int, head: int, generation: int) -> None:
        """Loses the events after `head`, and what was known of their generations; the next commit begins one."""
        self.generation = generation
        self.events[stream_id] = self.events[stream_id][:head]
        bases = self.generations.get(stream_id, NO_GENERATIONS).bases
        self.generations[stream_id] = Generations(tuple(pair for pair in bases if pair[1] < head))

    def position(self, stream_id: int) -> StreamPosition:
        """The stream's position now."""
        return StreamPosition(self.head(stream_id), 0, self.generations.get(stream_id, NO_GENERATIONS))

    def deliver(self, *batches: Batch) -> None:
        """Hands batches to the followers, as the channel layer brings them."""
        for batch in batches:
            self.hub._dispatch(batch)

    def deliver_badly(self, batches: Sequence[Batch], dice: random.Random) -> None:
        """Loses, repeats and reorders."""
        unruly = [batch for batch in batches for _ in range(dice.choice([0, 1, 1, 2]))]
        dice.shuffle(unruly)
        self.deliver(*unruly)

    async def repair(self) -> None:
        """Two checks of the hub: what stayed behind in both gets what it lacks."""
        await self.hub.check(full=True)
        await self.hub.check(full=True)

    def head(self, stream_id: int) -> int:
        return len(self.events.get(stream_id, []))

    def _read_page(self, stream_id: int, *, after: int, limit: int) -> Page:
        self.reads.append((stream_id, after))
        events = self.events.get(stream_id, [])[after : after + limit]
        return Page(events, self.generations.get(stream_id, NO_GENERATIONS) if events else NO_GENERATIONS)

    def _heads(self, stream_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
        return {
            stream_id: (self.head(stream_id), self.generations.get(stream_id, NO_GENERATIONS).newest)
            for stream_id in stream_ids
            if stream_id in self.events
        }

    def _read_gaps(self, gaps: Sequence[Gap]) -> dict[int, list[Batch]]:
        self.repairs.append(gaps)
        return {gap.stream_id: [self._batch(*gap)] for gap in gaps}

    def _batch(self, stream_id: int, after: int, through: int) -> Batch:
        generations = self.generations.get(stream_id, NO_GENERATIONS)
        return Batch(stream_id, self.events[stream_id][after:through], generations)

    async def _run(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)
