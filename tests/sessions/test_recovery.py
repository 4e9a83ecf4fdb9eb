"""Legs that die, are handed over, lose their lease or take too long: one terminal event, no gap, nothing counted
twice."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from agents_app.engine import Failed, Finished, Leg, LegOutcome, Stopped
from agents_app.events import MessageDelta
from core_app import database
from core_app.database import TransactionLost, write_transaction
from events_app import log
from events_app.flusher import FLUSHER
from events_app.lease import Renewal, lease_revoke
from sessions_app.legs import lease_keeper, runner
from sessions_app.legs.checkpoints import leg_end
from sessions_app.legs.runner import RUNNER
from sessions_app.legs.start import leg_start
from sessions_app.models import Message, Run, SteeringNote
from tests.gateway_harness import Client, Frame, GatewayHarness, eventually
from tests.scripted_engine import Crash, Gate, ScriptedEngine, crashing_leg, gated_leg, say, saying_leg, stream
from tools_app.executors import mcp

pytestmark = pytest.mark.django_db(transaction=True)


def types_of(frames: list[Frame]) -> list[str]:
    return [frame.event for frame in frames]


async def run_of(request_id: str) -> Run:
    return await database.run(lambda: Run.objects.select_related("session").get(pk=request_id))


async def test_a_leg_that_dies_is_tried_again_and_clients_are_told_to_drop_its_text(
    api: Client, script: ScriptedEngine
) -> None:
    script.legs = [crashing_leg("half an ans"), saying_leg("a whole answer")]
    session = await api.session()
    run = await api.run(session, "go")
    assert (run["status"], run["attempt"]) == ("completed", 2)
    frames = await api.log(session)
    retried = next(frame for frame in frames if frame.event == "run_retried")
    assert retried.data["attempt"] == 2
    assert types_of(frames).count("agent_start") == 1
    before = types_of(frames[: retried.id - 1])
    assert before[-1] == "message_delta"


@pytest.mark.parametrize(
    ("failure", "line"), [(TransactionLost("away"), "leg_database_failed"), (RuntimeError("a bug"), "leg_failed")]
)
async def test_a_leg_that_loses_the_database_says_so_in_a_line_and_any_other_with_a_traceback(
    api: Client, script: ScriptedEngine, caplog: pytest.LogCaptureFixture, failure: Exception, line: str
) -> None:
    async def raise_failure(leg: Leg) -> LegOutcome:
        raise failure

    script.legs = [raise_failure, saying_leg("a whole answer")]
    run = await api.run(await api.session(), "go")
    assert (run["status"], run["attempt"]) == ("completed", 2)
    said = [record.getMessage() for record in caplog.records if "leg_" in record.getMessage()]
    assert [line in each for each in said] == [True]
    assert ("Traceback" in said[0] or "exc_info" in said[0]) == (line == "leg_failed")


async def test_nothing_of_a_dead_attempt_is_written_after_the_next_one_has_begun(
    api: Client, script: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The flusher is slow, so that the leg's text is not yet committed when the leg dies."""
    died = threading.Event()
    commit = FLUSHER._commit

    def slow_commit(submissions: Any) -> Any:
        assert died.wait(60)
        return commit(submissions)

    async def half_leg(leg: Leg) -> LegOutcome:
        try:
            return await crashing_leg("half")(leg)
        finally:
            died.set()

    monkeypatch.setattr(FLUSHER, "_commit", slow_commit)
    script.legs = [half_leg, saying_leg("whole")]
    session = await api.session()
    await api.run(session, "go")
    frames = await api.log(session)
    retried = next(frame.id for frame in frames if frame.event == "run_retried")
    assert [frame.data["delta"] for frame in frames if frame.event == "message_delta" and frame.id > retried] == [
        "whole"
    ]


async def test_three_deaths_without_progress_end_the_run_with_an_error(api: Client, script: ScriptedEngine) -> None:
    script.behaviour = crashing_leg("again")
    session = await api.session()
    run = await api.run(session, "go")
    assert script.begun == 3
    assert (run["status"], run["attempt"], run["error"]["code"]) == ("failed", 3, "attempts_exhausted")
    frames = await api.log(session)
    assert types_of(frames)[-2:] == ["error", "agent_abort"]
    assert frames[-1].data["reason"] == "error"
    assert types_of(frames).count("run_retried") == 2


async def test_progress_gives_a_run_its_attempts_back(api: Client, script: ScriptedEngine) -> None:
    async def a_step_and_death(leg: Leg) -> LegOutcome:
        await say(leg, ["a step"])
        raise Crash

    script.legs = [
        crashing_leg("x"),
        crashing_leg("x"),
        a_step_and_death,
        crashing_leg("x"),
        crashing_leg("x"),
        saying_leg("done"),
    ]
    session = await api.session()
    run = await api.run(session, "go")
    assert (run["status"], run["attempt"], run["turns"]) == ("completed", 6, 2)


async def test_the_next_prompt_runs_after_one_that_could_not(api: Client, script: ScriptedEngine) -> None:
    script.legs = [crashing_leg(), crashing_leg(), crashing_leg()]
    session = await api.session()
    first = await api.prompt(session, "first")
    second = await api.prompt(session, "second")
    assert (await api.follow_run(session, first))["status"] == "failed"
    assert (await api.follow_run(session, second))["status"] == "completed"


async def test_a_leg_that_a_stopping_process_hands_over_is_finished_by_the_next(
    api: Client, gateway: GatewayHarness, script: ScriptedEngine
) -> None:
    gate = Gate()
    script.legs = [gated_leg(gate)]
    session = await api.session()
    request_id = await api.prompt(session, "go")
    await gate.arrival()
    await gateway.stop()
    handed = await run_of(request_id)
    assert (handed.state, handed.stalled) == ("running", 0)
    assert handed.leg_started_at is None
    await gateway.start()
    run = await api.follow_run(session, request_id)
    assert (run["status"], run["attempt"]) == ("completed", 2)
    assert types_of(await api.log(session)).count("run_retried") == 1


async def test_hand_overs_do_not_use_up_a_runs_attempts(
    api: Client, gateway: GatewayHarness, script: ScriptedEngine
) -> None:
    session = await api.session()
    gate = Gate()
    script.behaviour = gated_leg(gate)
    request_id = await api.prompt(session, "go")
    for _ in range(4):
        await gate.arrival()
        gate.reached.clear()
        await gateway.stop()
        await gateway.start()
    await gate.arrival()
    gate.open()
    run = await api.follow_run(session, request_id)
    assert (run["status"], run["attempt"]) == ("completed", 5)


async def test_a_leg_that_dies_without_a_word_is_found_by_the_sweep(
    api: Client, gateway: GatewayHarness, script: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The state after `kill -9`: the lease is not released and the run is still `running`."""
    from sessions_app.legs import runner

    gate = Gate()
    script.legs = [gated_leg(gate)]
    session = await api.session()
    request_id = await api.prompt(session, "go")
    await gate.arrival()
    monkeypatch.setattr(runner, "leg_hand_over", lambda **given: None)
    await gateway.stop()
    monkeypatch.undo()
    script_again = script
    monkeypatch.setattr("agents_app.registry.engine_get", lambda name: script_again)
    await database.run(_expire_leases)
    await gateway.start()
    run = await api.follow_run(session, request_id)
    assert (run["status"], run["attempt"]) == ("completed", 2)


def _expire_leases() -> None:
    from events_app.models import Stream

    Stream.objects.filter(owner__isnull=False).update(lease_expires=1.0)


async def test_a_run_that_takes_too_long_ends_with_what_it_said_before(
    api: Client, script: ScriptedEngine, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time limit passes exactly when the text has been streamed."""
    settings.GATEWAY_MAX_RUN_SECONDS = 1234
    timers: list[asyncio.Timeout] = []
    timeout = asyncio.timeout

    def keep_timeout(delay: float | None) -> asyncio.Timeout:
        made = timeout(delay)
        if delay is not None and 1000 < delay <= 1234:
            timers.append(made)
        return made

    async def too_long(leg: Leg) -> LegOutcome:
        await stream(leg, ["so ", "far"])
        timers[0].reschedule(asyncio.get_running_loop().time())
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(asyncio, "timeout", keep_timeout)
    script.behaviour = too_long
    session = await api.session()
    run = await api.run(session, "go")
    assert (run["status"], run["endReason"]) == ("aborted", "timeout")
    frames = await api.log(session)
    assert types_of(frames)[-2:] == ["message_delta", "agent_abort"]
    assert frames[-1].data["reason"] == "timeout"
    assert "GATEWAY_MAX_RUN_SECONDS" in frames[-1].data["message"]


async def test_an_engine_that_runs_into_a_timeout_of_its_own_is_tried_again(
    api: Client, script: ScriptedEngine
) -> None:
    async def late(leg: Leg) -> LegOutcome:
        raise TimeoutError

    script.legs = [late]
    session = await api.session()
    run = await api.run(session, "go")
    assert (run["status"], run["attempt"]) == ("completed", 2)


@pytest.mark.parametrize("reason", ["max_turns", "budget"])
async def test_a_run_that_reaches_a_limit_is_aborted_with_its_reason(
    api: Client, script: ScriptedEngine, reason: Any
) -> None:
    async def stop_at_limit(leg: Leg) -> LegOutcome:
        await stream(leg, ["almost"])
        return Stopped(reason, "No further.")

    script.behaviour = stop_at_limit
    session = await api.session()
    run = await api.run(session, "go")
    assert (run["status"], run["endReason"]) == ("aborted", reason)
    assert (await api.log(session))[-1].data["reason"] == reason


async def test_a_run_that_fails_says_so_and_then_ends(api: Client, script: ScriptedEngine) -> None:
    async def fail(leg: Leg) -> LegOutcome:
        return Failed("upstream_error", "The provider is away.", retryable=True)

    script.behaviour = fail
    session = await api.session()
    run = await api.run(session, "go")
    assert run["error"] == {"code": "upstream_error", "reason": "The provider is away."}
    error, abort = (await api.log(session))[-2:]
    assert (error.event, error.data["retryable"]) == ("error", True)
    assert (abort.event, abort.data["reason"]) == ("agent_abort", "error")


async def test_a_note_that_comes_during_the_final_answer_is_answered_once(api: Client, script: ScriptedEngine) -> None:
    """The engine takes the steering texts, then another one arrives, then the engine returns its answer."""
    gate = Gate()

    async def answer_past_gate(leg: Leg) -> LegOutcome:
        text, _ = await say(leg, ["first answer"])
        await gate.pass_through()
        return Finished(text)

    async def answer_notes(leg: Leg) -> LegOutcome:
        assert leg.history[-1].content == "first answer"
        notes = await leg.take_steering()
        text, _ = await say(leg, [f"and {note}" for note in notes])
        return Finished(text)

    script.legs, script.behaviour = [answer_past_gate], answer_notes
    session = await api.session()
    request_id = await api.prompt(session, "go")
    await gate.arrival()
    assert (await api.post(f"/v1/sessions/{session}/steer", {"text": "the note"})).status == 202
    gate.open()
    run = await api.follow_run(session, request_id)
    assert run["lastMessage"]["content"] == "and the note"
    assert script.begun == 2
    assert types_of(await api.log(session)).count("steering") == 1


async def test_the_demo_engine_answers_a_note_that_comes_during_its_final_answer(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sessions_app.legs import runner

    ended = leg_end
    steered: list[str] = []

    def end_after_a_note(start: Any, outcome: Any) -> None:
        if not steered:
            steered.append("now")
            SteeringNote.objects.create(run_id=start.run.pk, text="one more thing")
        ended(start, outcome)

    monkeypatch.setattr(runner, "leg_end", end_after_a_note)
    session = await api.session()
    run = await api.run(session, "hello")
    assert run["status"] == "completed"
    assert run["lastMessage"]["content"] == "one more thing"
    assert [frame.data["text"] for frame in await api.log(session) if frame.event == "steering"] == ["one more thing"]


async def test_a_leg_whose_lease_was_taken_writes_nothing_more(
    api: Client, script: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The keeper must not notice first, because it would end the leg before it writes."""
    monkeypatch.setattr(lease_keeper, "leases_renew", lambda *, fences, seconds: Renewal(set(fences), set()))
    gate = Gate()
    refused: list[str] = []

    async def write_after_loss(leg: Leg) -> LegOutcome:
        message_id, _ = await stream(leg, ["before"])
        await leg.take_steering()
        await gate.pass_through()
        for write in (
            lambda: leg.checkpoint(_completion(message_id)),
            lambda: leg.emit(MessageDelta(message_id=message_id, delta="after")),
            leg.drain,  # type: ignore[attr-defined]
        ):
            try:
                await write()
            except Exception as error:
                refused.append(type(error).__name__)
        return Finished("never")

    script.legs = [write_after_loss]
    session = await api.session()
    request_id = await api.prompt(session, "go")
    await gate.arrival()
    await database.run(_revoke, request_id)
    gate.open()
    await eventually(lambda: len(refused) >= 2)
    assert set(refused) == {"LeaseLost"}
    await _sweep()
    run = await api.follow_run(session, request_id)
    assert (run["status"], run["attempt"]) == ("completed", 2)
    texts = [frame.data["delta"] for frame in await api.log(session) if frame.event == "message_delta"]
    assert "after" not in "".join(texts)
    assert not await database.run(lambda: Message.objects.filter(content="never").exists())


def _completion(message_id: str) -> Any:
    from agents_app.engine import Completion
    from tests.scripted_engine import USAGE

    return Completion(message_id, "never", (), USAGE, b"{}")


def _revoke(request_id: str) -> None:
    stream_id = Run.objects.select_related("session").get(pk=request_id).session.stream_id
    with write_transaction():
        log.lock(stream_id)
        lease_revoke(stream_id=stream_id)


async def _sweep() -> None:
    from sessions_app.legs.sweep import sweep

    async with asyncio.timeout(60):
        while RUNNER.running:
            await asyncio.wait(list(RUNNER._tasks.values()))
    await database.run(sweep)


async def test_a_bug_in_beginning_a_leg_costs_nobody_else_a_turn(
    api: Client, script: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sessions_app.legs import runner

    begin = leg_start
    broken = await api.session()
    well = await api.session()
    failures: list[int] = []

    def begin_or_fail(*, session_id: int, fence: Any) -> Any:
        from sessions_app.models import AgentSession

        if not failures and AgentSession.objects.get(pk=session_id).public_id == broken:
            failures.append(session_id)
            raise RuntimeError("a bug")
        return begin(session_id=session_id, fence=fence)

    monkeypatch.setattr(runner, "leg_start", begin_or_fail)
    request_id = await api.prompt(broken, "go")
    assert (await api.run(well, "go"))["status"] == "completed"
    assert failures
    await database.run(_expire_leases)
    await _sweep()
    assert (await api.follow_run(broken, request_id))["status"] == "completed"


async def test_a_broken_row_does_not_end_the_sweep(
    api: Client, gateway: GatewayHarness, script: ScriptedEngine, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sessions_app.legs import sweep

    rounds: list[int] = []

    def raise_failure(**given: Any) -> int:
        rounds.append(1)
        raise RuntimeError("a bug")

    settings.GATEWAY_SWEEP_SECONDS = 0.001
    monkeypatch.setattr(sweep, "calls_expire", raise_failure)
    await gateway.restart()
    await eventually(lambda: len(rounds) >= 3)


async def test_a_prompt_whose_wake_up_is_lost_is_found_by_the_sweep(
    api: Client, script: ScriptedEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sessions_app.wakeup import WAKEUPS

    monkeypatch.setattr(WAKEUPS, "listener", None)
    session = await api.session()
    request_id = await api.prompt(session, "go")
    monkeypatch.undo()
    monkeypatch.setattr("agents_app.registry.engine_get", lambda name: script)
    WAKEUPS.listener = RUNNER.wake
    await _sweep()
    assert (await api.follow_run(session, request_id))["status"] == "completed"


async def test_what_prompts_will_need_is_loaded_ahead_and_a_mistake_in_it_ends_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[str] = []

    async def fail() -> None:
        loaded.append("mcp")
        raise ValueError("The configuration cannot be read.")

    monkeypatch.setattr(runner, "WARM_AFTER_SECONDS", 0)
    monkeypatch.setattr(runner, "load_price_list", lambda: loaded.append("prices"))
    monkeypatch.setattr(mcp, "preload", fail)
    await runner._load_engines()
    assert loaded == ["prices", "mcp"]
