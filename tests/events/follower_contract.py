"""The behaviour that followers of one stream and of several share: each event once and in order, and a clear end.

A module that tests a follower subclasses `FollowerContract` and says how one is opened on some streams.
"""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from events_app import follower as follower_module
from events_app.batches import EVENT_BYTES, StoredEvent
from events_app.follower import FollowerReleased, FollowerSlow
from tests.events.memory_log import MemoryLog


class Reading(ABC):
    """A follower as the shared tests read it."""

    streams: Sequence[int]

    @abstractmethod
    async def next(self, seconds: float = 0.0) -> Sequence[StoredEvent]:
        """Some events of one stream; none when nothing came in time."""

    @abstractmethod
    def close(self) -> None:
        """The client has gone."""

    async def read_all(self) -> dict[int, list[int]]:
        """Returns the offsets of each stream, until nothing more comes."""
        seen: dict[int, list[int]] = {stream_id: [] for stream_id in self.streams}
        while events := await self.next():
            assert len({event.stream_id for event in events}) == 1
            seen[events[0].stream_id] += [event.offset for event in events]
        return seen


class FollowerContract(ABC):
    streams: Sequence[int] = (1,)

    @abstractmethod
    def open_reading(self, log: MemoryLog, after: int = 0) -> AbstractAsyncContextManager[Reading]:
        """A follower of `streams` from `after` on."""

    @pytest.fixture
    def log(self, monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
        log = MemoryLog(monkeypatch)
        for stream_id in self.streams:
            log.commit(stream_id, 0)
        return log

    async def test_the_log_comes_first_and_then_what_is_live(self, log: MemoryLog) -> None:
        for stream_id in self.streams:
            log.commit(stream_id, 3)
        async with self.open_reading(log, after=1) as reading:
            assert await reading.read_all() == {stream_id: [2, 3] for stream_id in self.streams}
            log.deliver(*(log.commit(stream_id, 2) for stream_id in self.streams))
            reads = len(log.reads)
            assert await reading.read_all() == {stream_id: [4, 5] for stream_id in self.streams}
            assert len(log.reads) == reads

    @pytest.mark.parametrize("seed", range(30))
    async def test_batches_lost_repeated_and_reordered_cost_no_event(self, log: MemoryLog, seed: int) -> None:
        dice = random.Random(seed)
        seen: dict[int, list[int]] = {stream_id: [] for stream_id in self.streams}
        async with self.open_reading(log) as reading:
            for _ in range(10):
                batches = [log.commit(dice.choice(self.streams), dice.randint(1, 4)) for _ in range(dice.randint(1, 8))]
                log.deliver_badly(batches, dice)
                if dice.random() < 0.5:
                    _add(seen, await reading.read_all())
            await log.repair()
            _add(seen, await reading.read_all())
        assert seen == {stream_id: list(range(1, log.head(stream_id) + 1)) for stream_id in self.streams}

    async def test_a_long_log_is_read_in_pages(self, log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(follower_module, "PAGE", 4)
        for stream_id in self.streams:
            log.commit(stream_id, 10)
        async with self.open_reading(log) as reading:
            assert len(await reading.next()) == 4
            seen = await reading.read_all()
        counts = sorted(len(offsets) for offsets in seen.values())
        assert counts == [6] + [10] * (len(self.streams) - 1)

    async def test_what_comes_ends_the_wait(self, log: MemoryLog) -> None:
        async with self.open_reading(log) as reading:
            await reading.read_all()
            for stream_id in self.streams:
                waiting = asyncio.create_task(reading.next(3600.0))
                await asyncio.sleep(0)
                log.deliver(log.commit(stream_id, 1))
                events = await asyncio.wait_for(waiting, 30)
                assert [(event.stream_id, event.offset) for event in events] == [(stream_id, 1)]

    async def test_a_wait_in_which_nothing_comes_ends_with_its_time(self, log: MemoryLog) -> None:
        async with self.open_reading(log) as reading:
            assert await reading.next(0.001) == ()
            assert await reading.next(0.001) == ()

    async def test_a_cancelled_wait_loses_no_event(self, log: MemoryLog) -> None:
        async with self.open_reading(log) as reading:
            await reading.read_all()
            waiting = asyncio.create_task(reading.next(3600.0))
            await asyncio.sleep(0)
            log.deliver(log.commit(self.streams[-1], 2))
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert (await reading.read_all())[self.streams[-1]] == [1, 2]

    async def test_a_follower_whose_queue_was_full_reads_the_log(self, log: MemoryLog, settings: Any) -> None:
        settings.GATEWAY_FOLLOWER_QUEUE_BYTES = 3 * (EVENT_BYTES + 2)
        slow = self.streams[-1]
        async with self.open_reading(log) as reading:
            await reading.read_all()
            for _ in range(2):
                first, reads = log.head(slow) + 1, len(log.reads)
                log.deliver(*(log.commit(slow, 1) for _ in range(9)))
                assert (await reading.read_all())[slow] == list(range(first, first + 9))
                assert log.reads[reads:] == [(slow, first - 1)]

    async def test_a_follower_that_takes_nothing_for_too_long_is_ended(self, log: MemoryLog, settings: Any) -> None:
        settings.GATEWAY_FOLLOWER_QUEUE_BYTES = 3 * (EVENT_BYTES + 2)
        settings.GATEWAY_SLOW_FOLLOWER_SECONDS = 0.0
        slow = self.streams[-1]
        async with self.open_reading(log) as reading:
            await reading.read_all()
            log.deliver(*(log.commit(slow, 1) for _ in range(4)))
            with pytest.raises(FollowerSlow) as ended:
                await reading.next()
            assert ended.value.stream_id == slow
        assert log.hub.follower_count == 0

    async def test_a_drain_ends_every_follower_in_its_wait(self, log: MemoryLog) -> None:
        async with self.open_reading(log) as reading:
            await reading.read_all()
            waiting = asyncio.create_task(reading.next(3600.0))
            await asyncio.sleep(0)
            await log.hub.drain()
            with pytest.raises(FollowerReleased) as ended:
                await asyncio.wait_for(waiting, 30)
            assert ended.value.stream_id is None

    async def test_a_client_that_goes_ends_the_wait(self, log: MemoryLog) -> None:
        async with self.open_reading(log) as reading:
            await reading.read_all()
            waiting = asyncio.create_task(reading.next(3600.0))
            await asyncio.sleep(0)
            reading.close()
            with pytest.raises(FollowerReleased):
                await asyncio.wait_for(waiting, 30)

    async def test_a_stream_that_is_removed_is_followed_no_longer(self, log: MemoryLog) -> None:
        gone = self.streams[0]
        async with self.open_reading(log) as reading:
            await reading.read_all()
            del log.events[gone]
            await log.hub.check(full=True)
            with pytest.raises(FollowerReleased) as ended:
                await reading.next()
            assert ended.value.stream_id == gone

    async def test_nothing_stays_behind(self, log: MemoryLog) -> None:
        async with self.open_reading(log) as reading:
            await reading.next(0.001)
            assert log.hub.follower_count == len(self.streams)
        assert log.hub.follower_count == 0


def _add(seen: dict[int, list[int]], more: dict[int, list[int]]) -> None:
    for stream_id, offsets in more.items():
        seen[stream_id] += offsets
