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
from events_app.hub import Hub


class MemoryLog:
    """Streams with offsets 1, 2, 3 …; `reads` are the offsets after which a follower read, `repairs` the gaps that the
    hub read together."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: dict[int, list[StoredEvent]] = {}
        self.reads: list[tuple[int, int]] = []
        self.repairs: list[Sequence[Gap]] = []
        self.hub = Hub()
        monkeypatch.setattr("events_app.follower.log.read", self._read)
        monkeypatch.setattr("events_app.follower.database.run", self._run)
        monkeypatch.setattr("events_app.hub.database.run", self._run)
        monkeypatch.setattr(hub_module, "heads", self._heads)
        monkeypatch.setattr(hub_module, "gaps_read", self._read_gaps)

    def commit(self, stream_id: int, count: int) -> Batch:
        """Appends events, of which nobody hears yet."""
        stream = self.events.setdefault(stream_id, [])
        first = len(stream) + 1
        stream += [StoredEvent(stream_id, first + n, "message_delta", "run_1", b"{}") for n in range(count)]
        return Batch(stream_id, stream[first - 1 :])

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

    def _read(self, stream_id: int, *, after: int, limit: int, **_: Any) -> Sequence[StoredEvent]:
        self.reads.append((stream_id, after))
        return self.events.get(stream_id, [])[after : after + limit]

    def _heads(self, stream_ids: Sequence[int]) -> dict[int, int]:
        return {stream_id: self.head(stream_id) for stream_id in stream_ids if stream_id in self.events}

    def _read_gaps(self, gaps: Sequence[Gap]) -> dict[int, list[Batch]]:
        self.repairs.append(gaps)
        return {
            gap.stream_id: [Batch(gap.stream_id, self.events[gap.stream_id][gap.after : gap.through])] for gap in gaps
        }

    async def _run(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)
