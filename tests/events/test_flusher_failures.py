"""Commits that failed for certain are repeated, those with an unknown outcome are not, and the thread is watched."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection

from core_app import database
from core_app.metrics import FLUSHER_FAILURES
from events_app.commit import Commit
from events_app.flusher import Flusher
from events_app.leg_writer import BUSY_PAUSE_SECONDS, LONGEST_BUSY_PAUSE_SECONDS, LegWriter
from gateway_project.http import health
from tests.events.conftest import Rounds, leased_stream
from tests.events.test_commit import delta

pytestmark = pytest.mark.django_db(transaction=True)

CERTAIN = [
    psycopg.errors.DeadlockDetected,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.QueryCanceled,
    psycopg.errors.DiskFull,
]


def fail_with(kind: type[Exception]) -> OperationalError:
    error = OperationalError("x")
    error.__cause__ = kind("x")
    return error


@pytest.mark.parametrize("kind", CERTAIN)
async def test_a_commit_that_certainly_kept_nothing_is_repeated_and_fails_no_leg(
    rounds: Rounds, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """Before, one such blip failed every leg of the process."""
    streams = [await database.run(leased_stream) for _ in range(3)]
    writers = [rounds.writer(stream.fence, "run_1") for stream in streams]
    execute, failures = Commit.execute, [fail_with(kind), fail_with(kind)]

    def fail_twice(self: Commit) -> None:
        if failures:
            raise failures.pop()
        execute(self)

    monkeypatch.setattr(Commit, "execute", fail_twice)
    for writer in writers:
        await writer.emit(delta("a"))
    # Once for all, then each alone: the first of these fails again, and has its turn in the next round.
    await database.run(rounds.commit_round)
    assert rounds.waiting == [writers[0]]
    await database.run(rounds.commit_round)
    for writer in writers:
        await writer.drain()
    assert [await database.run(stream.types) for stream in streams] == [["message_delta"]] * 3


@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite says for certain whether it has committed")
async def test_a_commit_that_fails_on_its_way_is_not_repeated(rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = await database.run(leased_stream)
    writer = rounds.writer(stream.fence, "run_1")
    tried: list[Sequence[Any]] = []
    execute = Commit.execute

    def note(self: Commit) -> None:
        tried.append(self._submissions)
        execute(self)

    def lose(self: Any) -> None:
        raise fail_with(psycopg.errors.DeadlockDetected)

    monkeypatch.setattr(Commit, "execute", note)
    monkeypatch.setattr("django.db.backends.postgresql.base.DatabaseWrapper._commit", lose)
    await writer.emit(delta("a"))
    await database.run(rounds.commit_round)
    monkeypatch.undo()
    with pytest.raises(OperationalError):
        await writer.drain()
    assert len(tried) == 1
    assert rounds.waiting == []


async def test_the_pauses_of_a_locked_stream_grow_to_a_bound_and_start_small_again() -> None:
    writer = LegWriter(Flusher(), (await database.run(leased_stream)).fence, "run_1")
    now, tries = 1000.0, 0
    while now < 1004.0:
        writer.postpone(now)
        pause = round(writer.retry_at - now, 6)
        assert BUSY_PAUSE_SECONDS <= pause <= LONGEST_BUSY_PAUSE_SECONDS
        now, tries = writer.retry_at, tries + 1
    # A pause of 2 ms made 2,000 of them, and 315 on a busy machine.
    assert tries < 130
    writer.settle(None)
    writer.postpone(now)
    assert writer.retry_at - now == pytest.approx(BUSY_PAUSE_SECONDS)


async def test_a_locked_stream_has_no_turn_before_its_pause_is_over(rounds: Rounds) -> None:
    busy, free = [rounds.writer((await database.run(leased_stream)).fence, "run_1") for _ in range(2)]
    busy.retry_at = float("inf")
    for writer in (busy, free):
        await writer.emit(delta("a"))
    assert rounds._next_round() == [free]
    assert rounds.waiting == [busy]


async def test_a_bug_outside_the_commit_fails_its_round_and_the_thread_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    flusher, failures = Flusher(), [RuntimeError("a bug")]
    commit_round = flusher._commit_round

    def fail_once(writers: Sequence[LegWriter]) -> None:
        if failures:
            raise failures.pop()
        commit_round(writers)

    monkeypatch.setattr(flusher, "_commit_round", fail_once)
    first, second = await database.run(leased_stream), await database.run(leased_stream)
    await flusher.start()
    failed = flusher.writer(first.fence, "run_1")
    await failed.emit(delta("lost"))
    with pytest.raises(RuntimeError, match="a bug"):
        await asyncio.wait_for(failed.drain(), 60)
    writer = flusher.writer(second.fence, "run_2")
    await writer.emit(delta("kept"))
    await asyncio.wait_for(writer.drain(), 60)
    await flusher.stop()
    assert await database.run(second.types) == ["message_delta"]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
async def test_a_thread_that_dies_is_noticed_and_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    flusher, deaths = Flusher(), [SystemExit("dead")]
    commit_round = flusher._commit_round

    def die_once(writers: Sequence[LegWriter]) -> None:
        if deaths:
            raise deaths.pop()
        commit_round(writers)

    monkeypatch.setattr(flusher, "_commit_round", die_once)
    monkeypatch.setattr(health, "FLUSHER", flusher)
    stream, other = await database.run(leased_stream), await database.run(leased_stream)
    await flusher.start()
    thread = flusher._thread
    assert thread is not None
    assert await health.threads_probe() == "ok"
    writer = flusher.writer(stream.fence, "run_1")
    await writer.emit(delta("lost"))
    with pytest.raises(RuntimeError):
        await asyncio.wait_for(writer.drain(), 60)
    await asyncio.to_thread(thread.join, 60)
    with pytest.raises(health.NotReady, match="flusher"):
        await health.threads_probe()
    again = flusher.writer(other.fence, "run_2")
    await again.emit(delta("kept"))
    await asyncio.wait_for(again.drain(), 60)
    assert await health.threads_probe() == "ok"
    await flusher.stop()
    assert await database.run(other.types) == ["message_delta"]
    assert FLUSHER_FAILURES._value.get() >= 2
