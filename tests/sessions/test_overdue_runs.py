"""RUNNING has an end that the database enforces, whatever the engine or the start of a leg does."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction

from agents_app.engine import Finished, Leg, LegOutcome
from core_app import clock, database
from events_app.models import Stream
from sessions_app.legs import runner, start
from sessions_app.legs.sweep import sweep
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.services.run_pause import run_pause
from tests.gateway_harness import Client, eventually
from tests.scripted_engine import Gate, ScriptedEngine


def begin_earlier(run_id: str, seconds: float) -> None:
    """Moves the beginning of the run and of its leg into the past."""
    moment = clock.now() - timedelta(seconds=seconds)
    Run.objects.filter(pk=run_id).update(created_at=moment, leg_started_at=moment)


async def test_a_run_whose_engine_ignores_its_time_limit_is_ended_by_the_sweep(
    api: Client, script: ScriptedEngine, settings: Any
) -> None:
    """Before, its lease was kept for as long as the loop turned, and nothing ended it."""
    begun, release = asyncio.Event(), asyncio.Event()

    async def ignore_cancellation(leg: Leg) -> LegOutcome:
        begun.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        return Finished("too late")

    script.behaviour = ignore_cancellation
    session = await api.session()
    run_id = await api.prompt(session, "go")
    await asyncio.wait_for(begun.wait(), 60)
    limit = settings.GATEWAY_MAX_RUN_SECONDS
    await database.run(begin_earlier, run_id, limit + 50)
    await database.run(sweep)
    assert (await database.run(Run.objects.get, pk=run_id)).state == "running"
    await database.run(begin_earlier, run_id, limit + 70)
    await database.run(sweep)
    run = await database.run(Run.objects.get, pk=run_id)
    assert (run.state, run.end_reason) == ("aborted", "timeout")
    release.set()
    frames = await api.log(session)
    assert [frame.event for frame in frames if frame.event in ("agent_end", "agent_abort")] == ["agent_abort"]


async def test_time_before_the_present_leg_counts_and_waits_do_not(api: Client, settings: Any) -> None:
    from sessions_app.services.overtime import runs_overdue

    session = await api.session()
    run_id = (await api.run(session, "go"))["requestId"]
    limit = settings.GATEWAY_MAX_RUN_SECONDS

    def overdue(active: float, leg: float) -> bool:
        now = clock.now()
        with database.write_transaction(), transaction.atomic():
            Run.objects.filter(pk=run_id).update(
                state="running",
                ended_at=None,
                last_offset=None,
                created_at=now - timedelta(days=3),
                leg_started_at=now - timedelta(seconds=leg),
                active_ms=int(active * 1000),
            )
            found = bool(runs_overdue())
            # Only of the inner block.
            transaction.set_rollback(True)
        return found

    assert not await database.run(overdue, 0, 3000)
    assert await database.run(overdue, limit, 90)
    assert not await database.run(overdue, limit - 100, 90)


async def test_a_leg_that_can_never_be_started_ends_its_run_and_gives_its_lease_back(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before, it was tried every 12 s for ever: the count was rolled back with the start that failed."""
    tried = []

    def fail(session: Any, run: Any) -> Any:
        tried.append(run.pk)
        raise RuntimeError("a broken row")

    monkeypatch.setattr(start, "_start", fail)
    session = await api.session()
    run_id = await api.prompt(session, "go")
    run = await api.poll_run(session, run_id)
    assert (run["status"], run["error"]["code"]) == ("failed", "attempts_exhausted")
    assert tried == [run_id] * 3
    row = await database.run(AgentSession.objects.get, public_id=session)
    await eventually(lambda: not runner.RUNNER.running)
    stream = await database.run(Stream.objects.get, pk=row.stream_id)
    assert stream.owner is None
    monkeypatch.undo()
    assert (await api.run(session, "again"))["status"] == "completed"


async def test_a_start_that_finds_the_database_away_is_not_counted(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [database.TransactionLost("away")] * 5
    begin = start._start

    def fail(session: Any, run: Any) -> Any:
        if failures:
            raise failures.pop()
        return begin(session, run)

    monkeypatch.setattr(start, "_start", fail)

    session = await api.session()
    run_id = await api.prompt(session, "go")
    # The lease stays with this process, which looks again when it has run out; the test does not wait for that.
    await eventually(lambda: not runner.RUNNER.running)
    assert (await database.run(Run.objects.get, pk=run_id)).stalled == 0


async def test_a_leg_that_ends_by_a_clock_that_is_behind_takes_no_time_off_its_run(
    api: Client, script: ScriptedEngine
) -> None:
    """The leg began in a process whose clock was ahead: the run would have had that much longer for the rest."""
    gate = Gate()

    async def wait(leg: Leg) -> LegOutcome:
        await gate.pass_through()
        return Finished("done")

    script.behaviour = wait
    run_id = await api.prompt(await api.session(), "go")
    await gate.arrival()

    def pause() -> int:
        with transaction.atomic():
            run = Run.objects.select_related("session").get(pk=run_id)
            run.active_ms, run.leg_started_at = 5000, clock.now() + timedelta(hours=1)
            run_pause(run.session, run, RunState.READY)
            transaction.set_rollback(True)
        return run.active_ms

    assert await database.run(pause) == 5000
    gate.open()
