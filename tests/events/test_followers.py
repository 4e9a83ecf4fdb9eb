"""Followers of one stream and of several: both pass the shared tests, and streams come and go during one wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from events_app import follower as follower_module
from events_app.batches import EVENT_BYTES, StoredEvent
from events_app.follower import Follower, FollowerReleased, FollowerSlow, MultiFollower, TooManyStreams
from events_app.generations import Position
from events_app.subscription import Subscription
from tests.events.follower_contract import FollowerContract, Reading
from tests.events.memory_log import MemoryLog


class OneStream(Reading):
    def __init__(self, follower: Follower) -> None:
        self.follower, self.streams = follower, [follower.stream_id]

    async def next(self, seconds: float = 0.0) -> Sequence[StoredEvent]:
        return await self.follower.next(seconds)

    def close(self) -> None:
        self.follower.close()


class SeveralStreams(Reading):
    def __init__(self, follower: MultiFollower, streams: Sequence[int]) -> None:
        self.follower, self.streams = follower, streams

    async def next(self, seconds: float = 0.0) -> Sequence[StoredEvent]:
        before = self.follower.positions
        found = await self.follower.next(seconds)
        if found is None:
            return ()
        assert found.missing is None
        assert found.events[0].offset == before[found.stream_id].offset + 1
        assert self.follower.positions[found.stream_id] == found.events[-1].position
        return found.events

    def close(self) -> None:
        self.follower.close()


class TestAFollowerOfOneStream(FollowerContract):
    @asynccontextmanager
    async def open_reading(self, log: MemoryLog, after: int = 0) -> AsyncIterator[Reading]:
        async with Follower(1, after=Position(after), hub=log.hub) as follower:
            yield OneStream(follower)


class TestAFollowerOfSeveralStreams(FollowerContract):
    streams: Sequence[int] = (1, 2, 3)

    @asynccontextmanager
    async def open_reading(self, log: MemoryLog, after: int = 0) -> AsyncIterator[Reading]:
        async with MultiFollower(hub=log.hub) as follower:
            for stream_id in self.streams:
                await follower.add(stream_id, after=Position(after))
            yield SeveralStreams(follower, self.streams)


class TestAFollowerOfSeveralStreamsWithOne(TestAFollowerOfSeveralStreams):
    streams = (7,)


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    return MemoryLog(monkeypatch)


async def test_a_stream_that_is_added_while_others_are_waited_for_ends_the_wait(log: MemoryLog) -> None:
    log.commit(1, 0)
    log.commit(2, 3)
    async with MultiFollower(hub=log.hub) as follower:
        await follower.add(1)
        waiting = asyncio.create_task(follower.next(3600.0))
        await asyncio.sleep(0)
        await follower.add(2, after=Position(1))
        found = await asyncio.wait_for(waiting, 30)
        assert found is not None
        assert (found.stream_id, found.missing, [event.offset for event in found.events]) == (2, None, [2, 3])
        assert follower.positions == {1: Position(0), 2: Position(3)}


async def test_of_a_stream_that_is_removed_nothing_more_comes(log: MemoryLog) -> None:
    async with MultiFollower(hub=log.hub) as follower:
        for stream_id in (1, 2):
            log.commit(stream_id, 1)
            await follower.add(stream_id, after=Position(1))
        assert await follower.next(0.0) is None
        log.deliver(log.commit(1, 1), log.commit(2, 1))
        follower.remove(1)
        follower.remove(1)
        found = await follower.next(0.0)
        assert found is not None
        assert found.stream_id == 2
        assert await follower.next(0.0) is None
        assert follower.positions == {2: Position(2)}
        assert log.hub.follower_count == 1


async def test_a_stream_that_is_removed_while_its_log_is_read_is_not_shown(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.commit(1, 3)
    reading, release = asyncio.Event(), asyncio.Event()

    async def slowly(function: object, /, *args: object, **kwargs: object) -> object:
        reading.set()
        await release.wait()
        return await log._run(function, *args, **kwargs)

    monkeypatch.setattr("events_app.follower.database.run", slowly)
    async with MultiFollower(hub=log.hub) as follower:
        await follower.add(1)
        waiting = asyncio.create_task(follower.next(0.01))
        await reading.wait()
        follower.remove(1)
        await follower.add(1, after=Position(2))
        release.set()
        found = await asyncio.wait_for(waiting, 30)
        assert found is not None
        assert [event.offset for event in found.events] == [3]


async def test_a_stream_that_is_removed_while_it_joins_is_not_followed(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    joining, release = asyncio.Event(), asyncio.Event()
    attach = log.hub.attach

    async def slowly(subscription: Subscription) -> None:
        await attach(subscription)
        joining.set()
        await release.wait()

    monkeypatch.setattr(log.hub, "attach", slowly)
    async with MultiFollower(hub=log.hub) as follower:
        adding = asyncio.create_task(follower.add(1))
        await joining.wait()
        with pytest.raises(ValueError, match="followed already"):
            await follower.add(1)
        follower.remove(1)
        release.set()
        await adding
        assert follower.positions == {}
        assert log.hub.follower_count == 0


async def test_the_others_go_on_when_one_stream_ends(log: MemoryLog, settings: Any) -> None:
    settings.GATEWAY_FOLLOWER_QUEUE_BYTES = 2 * (EVENT_BYTES + 2)
    settings.GATEWAY_SLOW_FOLLOWER_SECONDS = 0.0
    async with MultiFollower(hub=log.hub) as follower:
        for stream_id in (1, 2, 3):
            log.commit(stream_id, 0)
            await follower.add(stream_id)
        assert await follower.next(0.0) is None
        log.deliver(*(log.commit(1, 1) for _ in range(3)))
        del log.events[2]
        await log.hub.check(full=True)
        log.deliver(log.commit(3, 1))
        with pytest.raises(FollowerSlow) as slow:
            await follower.next(0.0)
        with pytest.raises(FollowerReleased) as released:
            await follower.next(0.0)
        assert (slow.value.stream_id, released.value.stream_id) == (1, 2)
        found = await follower.next(0.0)
        assert found is not None
        assert (found.stream_id, follower.positions) == (3, {3: Position(1)})
        # Behind on one stream is no reason to lose it: it is followed again from where it stood.
        await follower.add(1)
        again = await follower.next(0.0)
        assert again is not None
        assert [event.offset for event in again.events] == [1, 2, 3]


async def test_streams_take_turns(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower_module, "PAGE", 2)
    async with MultiFollower(hub=log.hub) as follower:
        for stream_id, count in ((1, 6), (2, 2), (3, 4)):
            log.commit(stream_id, count)
            await follower.add(stream_id)
        turns = []
        while (found := await follower.next(0.0)) is not None:
            turns.append(found.stream_id)
    assert turns == [1, 2, 3, 1, 3, 1]


async def test_a_read_that_fails_is_made_again(log: MemoryLog, monkeypatch: pytest.MonkeyPatch) -> None:
    log.commit(1, 2)
    run = log._run

    async def fail_once(*_: object, **__: object) -> object:
        monkeypatch.setattr("events_app.follower.database.run", run)
        raise ConnectionError

    monkeypatch.setattr("events_app.follower.database.run", fail_once)
    async with MultiFollower(hub=log.hub) as follower:
        await follower.add(1)
        with pytest.raises(ConnectionError):
            await follower.next(0.0)
        found = await follower.next(0.0)
        assert found is not None
        assert [event.offset for event in found.events] == [1, 2]


async def test_the_number_of_streams_is_bounded(log: MemoryLog) -> None:
    async with MultiFollower(hub=log.hub, limit=2) as follower:
        await follower.add(1)
        await follower.add(2)
        with pytest.raises(TooManyStreams):
            await follower.add(3)
        follower.remove(1)
        await follower.add(3)
