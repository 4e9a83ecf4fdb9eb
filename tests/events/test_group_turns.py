"""Groups that several processes need: each gets its turn, in a queue, and what is locked delays nothing else."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest
from django.db import connection

from core_app import database
from core_app.database import write_transaction
from events_app import flusher, log
from events_app.flusher import Flusher
from events_app.group_turns import CROWDED_SECONDS
from events_app.models import Stream
from tests.events.conftest import Holder, Leased, leased_stream
from tests.events.test_commit import bad, delta

pytestmark = pytest.mark.django_db(transaction=True)

postgresql = pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite locks the database, not rows")

PATIENCE_SECONDS = 60
PROCESSES, LEGS, DELTAS = 3, 4, 30


class Queued(Holder):
    """Another process that waits for the row for as long as it takes."""

    def begin(self) -> None:
        # For this transaction alone: the connection returns to a pool that others use.
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = 0")

    def queue(self) -> Queued:
        """Starts to wait."""
        self._thread.start()
        return self

    @property
    def holds(self) -> bool:
        return self._held.is_set()


@contextlib.asynccontextmanager
async def running(count: int = 1) -> AsyncIterator[list[Flusher]]:
    """Starts flushers, as of so many processes."""
    flushers = [Flusher() for _ in range(count)]
    for each in flushers:
        await each.start()
    try:
        yield flushers
    finally:
        for each in flushers:
            await each.stop()


def group_create() -> Stream:
    with write_transaction():
        return log.stream_create(kind="group")


def waiting_for_locks() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return int(cursor.fetchone()[0])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await database.run(holds):  # noqa: ASYNC110  (the database says nothing when it changes)
            await asyncio.sleep(0.01)


@postgresql
async def test_a_leg_of_a_locked_group_has_its_turn_before_whoever_comes_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever only looks whether the group is free finds the next one in the queue there."""
    monkeypatch.setattr(flusher, "WAIT_SECONDS", PATIENCE_SECONDS)
    group = await database.run(group_create)
    stream = await database.run(lambda: leased_stream(parent=group))
    earlier, later = Queued(group.pk), Queued(group.pk)
    async with running() as (mine,):
        writer = mine.writer(stream.fence, "run_1")
        with Holder(group.pk) as holder:
            earlier.queue()
            await until(lambda: waiting_for_locks() == 1)
            await writer.emit(delta("a"))
            await until(lambda: waiting_for_locks() == 2)
            later.queue()
            await until(lambda: waiting_for_locks() == 3)
            # What comes while it waits is committed with the rest.
            await writer.emit(delta("b"))
            holder.let_go()
        await until(lambda: earlier.holds)
        earlier.let_go()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await writer.drain()
        await until(lambda: later.holds)
        later.let_go()
    assert [data["delta"] for _, _, data in await database.run(stream.events)] == ["ab"]
    assert await database.run(lambda: log.read(group.pk, after=0, limit=9)[0].source) == stream.pk


@postgresql
async def test_a_group_that_stays_locked_delays_no_other_group_and_no_other_leg() -> None:
    locked, crowded = await database.run(group_create), await database.run(group_create)
    one, two, three = [await database.run(lambda g=group: leased_stream(parent=g)) for group in (locked, crowded, None)]  # type: ignore[misc]
    async with running() as (mine,):
        waits, turns, free = [mine.writer(stream.fence, "run_1") for stream in (one, two, three)]
        with Holder(locked.pk):
            await waits.emit(delta("a"))
            with Holder(crowded.pk) as holder:
                await turns.emit(delta("b"))
                await until(lambda: turns.group_id == crowded.pk and waits.group_id == locked.pk)
                holder.let_go()
            await free.emit(delta("c"))
            async with asyncio.timeout(PATIENCE_SECONDS):
                await turns.drain()
                await free.drain()
            assert await database.run(one.types) == []
        await waits.drain()
    assert await database.run(one.types) == ["message_delta"]


async def test_legs_of_several_processes_in_one_group_lose_nothing_and_keep_their_order() -> None:
    group = await database.run(group_create)
    async with running(PROCESSES) as flushers:

        async def leg(mine: Flusher, stream: Leased) -> None:
            writer = mine.writer(stream.fence, "run_1")
            for number in range(DELTAS):
                await writer.emit(delta(f"{number} ", f"message {number}"))
                if number % 3 == 0:
                    await writer.drain()
            await writer.drain()

        streams = [await database.run(lambda: leased_stream(parent=group)) for _ in range(PROCESSES * LEGS)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*(leg(flushers[n % PROCESSES], stream) for n, stream in enumerate(streams)))
    told = await database.run(lambda: log.read(group.pk, after=0, limit=10_000))
    assert [event.offset for event in told] == list(range(1, PROCESSES * LEGS * DELTAS + 1))
    for stream in streams:
        found = await database.run(stream.events)
        assert [data["delta"] for _, _, data in found] == [f"{number} " for number in range(DELTAS)]
        assert [event.data for event in told if event.source == stream.pk] == [
            event.data
            for event in await database.run(lambda s=stream: log.read(s.pk, after=0, limit=100))  # type: ignore[misc]
        ]


@postgresql
async def test_a_bad_event_in_a_turn_costs_only_its_own_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flusher, "WAIT_SECONDS", PATIENCE_SECONDS)
    group = await database.run(group_create)
    well, ill = [await database.run(lambda: leased_stream(parent=group)) for _ in range(2)]
    async with running() as (mine,):
        fine, failing = mine.writer(well.fence, "run_1"), mine.writer(ill.fence, "run_2")
        with Holder(group.pk):
            await fine.emit(delta("kept"))
            await failing.emit(delta("lost with it"))
            await until(lambda: waiting_for_locks() == 1)
            await failing.emit(bad())
        await fine.drain()
        with pytest.raises(AttributeError, match="changed"):
            await failing.drain()
    assert await database.run(well.types) == ["message_delta"]
    assert await database.run(ill.types) == []


@postgresql
async def test_a_group_that_was_found_free_is_no_longer_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its legs are committed with those of other groups again."""
    group = await database.run(group_create)
    stream = await database.run(lambda: leased_stream(parent=group))
    async with running() as (mine,):
        writer = mine.writer(stream.fence, "run_1")
        with Holder(group.pk):
            await writer.emit(delta("a"))
            await until(lambda: writer.group_id == group.pk)
        await writer.drain()
        writer.crowded_until -= 2 * CROWDED_SECONDS
        turns: list[int] = []
        monkeypatch.setattr(mine._groups, "join", lambda _, group_id: turns.append(group_id))
        await writer.emit(delta("b"))
        await writer.drain()
    assert turns == []
