"""The test suite that every engine must pass.

A subclass tells how to bring its engine into each situation (`situation`), by a session's model and a prompt. The tests
see only the leg: events, checkpoints, calls and the outcome.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from agents_app.engine import Engine, Failed, Finished, HistoryMessage, LegLost, LegOutcome, Stopped, Waiting
from agents_app.events import MessageDelta, MessageStart
from events_app.types import Event
from sessions_app.events import MessageEnd, Steering
from tests.agents.recording_leg import Crash, RecordingLeg, World, session_of

SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}


class EngineContract:
    """Base class. Subclasses define the fixture `engine` and the method `situation`.

    `reports_usage` is False for agents that do not tell what they used: their usage has no cost, and is there."""

    reports_usage = True

    def situation(self, name: str) -> tuple[str, str]:
        """Returns the session's model and the prompt for one of: answer, tool, later (its tool stays pending), mixed
        (one tool answers, one stays pending), failing, structured. Raises KeyError for what the engine cannot do."""
        raise NotImplementedError

    def world(self, situation: str, **session: Any) -> World:
        try:
            model, prompt = self.situation(situation)
        except KeyError:
            pytest.skip(f"this engine knows no situation '{situation}'")
        world = World(session_of(model, **session))
        world.prompt(prompt)
        return world

    async def run_with_crash(
        self, engine: Engine, world: World, *, crash_at: tuple[int, bool] | None = None
    ) -> tuple[LegOutcome, int]:
        """Runs legs until one ends, the first of which may crash. Returns the outcome and the number of crashes."""
        try:
            return await engine.run_leg(world.leg(crash_at=crash_at)), 0
        except Crash:
            world.attempt += 1
            return await engine.run_leg(world.leg()), 1

    async def test_an_answer_is_streamed_checkpointed_and_returned_as_the_same_text(self, engine: Engine) -> None:
        world = self.world("answer")
        outcome = await engine.run_leg(world.leg())
        assert isinstance(outcome, Finished)
        deltas = world.events_of(MessageDelta)
        assert len(deltas) > 1
        assert "".join(event.delta for event in deltas) == outcome.content
        assert [completion.text for completion in world.completions] == [outcome.content]
        assert {event.message_id for event in deltas} == {world.completions[0].message_id}

    async def test_a_message_starts_once_before_its_first_delta_and_ends_after_its_last(self, engine: Engine) -> None:
        world = self.world("answer")
        await engine.run_leg(world.leg())
        kinds = [type(event) for event in world.events if isinstance(event, MessageStart | MessageDelta | MessageEnd)]
        assert kinds[0] is MessageStart
        assert kinds[-1] is MessageEnd
        assert set(kinds[1:-1]) == {MessageDelta}

    async def test_usage_is_reported_with_every_response(self, engine: Engine) -> None:
        world = self.world("tool")
        await engine.run_leg(world.leg())
        assert [usage.output_tokens > 0 for usage in world.usage] == [self.reports_usage] * 2
        assert self.reports_usage or {usage.cost_usd for usage in world.usage} == {None}

    async def test_a_tool_is_called_once_and_the_model_is_told_what_it_answered(self, engine: Engine) -> None:
        world = self.world("tool")
        world.tools["echo"] = lambda args: "the answer of the tool"
        outcome = await engine.run_leg(world.leg())
        assert isinstance(outcome, Finished)
        assert "the answer of the tool" in outcome.content
        assert [call.args for call in world.executed] == [{"x": 1}]

    async def test_a_pending_call_ends_the_leg_and_its_answer_carries_the_next_one(self, engine: Engine) -> None:
        world = self.world("later")
        assert await engine.run_leg(world.leg()) == Waiting()
        turns = len(world.completions)
        world.settle(world.pending_calls()[0].call_id, "it came in the end")
        outcome = await engine.run_leg(world.leg())
        assert isinstance(outcome, Finished)
        assert "it came in the end" in outcome.content
        assert len(world.completions) == turns + 1

    async def test_a_leg_that_is_started_too_early_waits_again_without_asking_the_model(self, engine: Engine) -> None:
        world = self.world("later")
        await engine.run_leg(world.leg())
        turns = len(world.completions)
        assert await engine.run_leg(world.leg()) == Waiting()
        assert len(world.completions) == turns

    async def test_what_was_answered_before_a_wait_is_not_executed_again(self, engine: Engine) -> None:
        world = self.world("mixed")
        assert await engine.run_leg(world.leg()) == Waiting()
        world.settle(world.pending_calls()[0].call_id, "second answer")
        outcome = await engine.run_leg(world.leg())
        assert isinstance(outcome, Finished)
        assert "second answer" in outcome.content
        names = [call.name for call in world.executed]
        assert names.count("echo") == 1

    @pytest.mark.parametrize("situation", ["answer", "tool"])
    async def test_a_run_that_dies_anywhere_is_finished_by_the_next_leg(self, engine: Engine, situation: str) -> None:
        undisturbed = self.world(situation)
        leg = undisturbed.leg()
        expected = await engine.run_leg(leg)
        assert isinstance(expected, Finished)
        deaths = 0
        for crash_at in itertools.product(range(1, leg.awaits + 1), (False, True)):
            world = self.world(situation)
            outcome, crashes = await self.run_with_crash(engine, world, crash_at=crash_at)
            assert outcome == expected
            assert len({call.call_id for call in world.executed}) == len(world.executed)
            assert len(world.completions) == len(undisturbed.completions)
            deaths += crashes
        assert deaths == 2 * leg.awaits

    @pytest.mark.parametrize("situation", ["answer", "tool"])
    async def test_a_lost_lease_passes_through_untouched_wherever_it_is_noticed(
        self, engine: Engine, situation: str
    ) -> None:
        undisturbed = self.world(situation).leg()
        await engine.run_leg(undisturbed)
        for at in range(1, undisturbed.awaits + 1):
            lost = LegLost("lost")
            with pytest.raises(LegLost) as raised:
                await engine.run_leg(FailingLeg(self.world(situation), at, lost))
            assert raised.value is lost

    @pytest.mark.parametrize("situation", ["answer", "tool"])
    async def test_a_cancelled_leg_is_cancelled_wherever_it_waits(self, engine: Engine, situation: str) -> None:
        undisturbed = self.world(situation).leg()
        await engine.run_leg(undisturbed)
        for at in range(1, undisturbed.awaits + 1):
            leg = StuckLeg(self.world(situation), at)
            task = asyncio.create_task(engine.run_leg(leg))
            async with asyncio.timeout(60):
                await leg.stuck.wait()
                task.cancel()
                await asyncio.wait([task])
            assert task.cancelled()

    async def test_a_run_stops_at_its_limit_of_responses_counted_over_its_legs(self, engine: Engine) -> None:
        world = self.world("later", max_turns=1)
        assert await engine.run_leg(world.leg()) == Waiting()
        world.settle(world.pending_calls()[0].call_id, "done")
        outcome = await engine.run_leg(world.leg())
        assert isinstance(outcome, Stopped)
        assert outcome.reason == "max_turns"
        assert len(world.completions) == 1

    async def test_what_the_user_says_during_tools_joins_the_next_request(self, engine: Engine) -> None:
        world = self.world("tool")

        def answer_and_steer(args: Any) -> str:
            world.waiting_texts.append("and be brief")
            return "done"

        world.tools["echo"] = answer_and_steer
        outcome = await engine.run_leg(world.leg())
        assert isinstance(outcome, Finished)
        kinds = [type(event) for event in world.events]
        assert kinds.index(Steering) < kinds.index(MessageEnd, kinds.index(Steering))
        assert [message.content for message in world.history if message.role == "user"][1:] == ["and be brief"]

    async def test_what_the_user_says_during_the_answer_costs_one_more_response(self, engine: Engine) -> None:
        world = self.world("answer")
        leg = InterruptedLeg(world, "one more thing")
        outcome = await engine.run_leg(leg)
        assert isinstance(outcome, Finished)
        assert len(world.completions) == 2
        assert outcome.content == world.completions[1].text
        assert world.waiting_texts == []

    async def test_a_failure_is_a_code_and_a_sentence_of_the_gateways_own(self, engine: Engine) -> None:
        world = self.world("failing")
        outcome = await engine.run_leg(world.leg())
        assert isinstance(outcome, Failed)
        assert outcome.code == "upstream_error"
        assert outcome.retryable
        assert outcome.reason.endswith(".")
        assert "SECRET" not in outcome.reason

    async def test_a_run_whose_answer_was_stored_before_it_died_ends_without_asking_again(self, engine: Engine) -> None:
        world = self.world("answer")
        first = await engine.run_leg(world.leg())
        assert await engine.run_leg(world.leg()) == first
        assert len(world.completions) == 1

    async def test_an_answer_in_a_response_format_is_json_that_fits_and_is_shown_once(self, engine: Engine) -> None:
        world = self.world("structured", response_format=SCHEMA)
        outcome = await engine.run_leg(world.leg())
        assert isinstance(outcome, Finished)
        assert outcome.content.startswith('{"city":"')
        assert "".join(event.delta for event in world.events_of(MessageDelta)) == outcome.content
        assert [completion.text for completion in world.completions] == [outcome.content]
        assert world.calls == {}

    async def test_a_conversation_goes_on_with_all_that_was_said(self, engine: Engine) -> None:
        world = self.world("tool")
        await engine.run_leg(world.leg())
        world.session = replace(world.session, model=self.situation("answer")[0])
        world.prompt(self.situation("answer")[1])
        assert isinstance(await engine.run_leg(world.leg()), Finished)

    async def test_an_imported_history_without_payloads_is_understood(self, engine: Engine) -> None:
        world = self.world("answer")
        prompt = world.history.pop()
        world.history += [
            HistoryMessage("m1", "system", "Be kind."),
            HistoryMessage("m2", "user", "Earlier"),
            HistoryMessage("m3", "assistant", "Answered"),
            HistoryMessage("m4", "tool_result", "of a call nobody knows", call_id="gone"),
            prompt,
        ]
        assert isinstance(await engine.run_leg(world.leg()), Finished)


class FailingLeg(RecordingLeg):
    """A leg that raises at its n-th await."""

    def __init__(self, world: World, at: int, error: Exception) -> None:
        super().__init__(world, None)
        self._at, self._error = at, error

    def _step(self) -> bool:
        self.awaits += 1
        if self.awaits == self._at:
            raise self._error
        return False


class StuckLeg(RecordingLeg):
    """A leg that waits for ever at its n-th await."""

    def __init__(self, world: World, at: int) -> None:
        super().__init__(world, None)
        self._at = at
        self.stuck = asyncio.Event()

    async def _maybe_stop(self) -> None:
        if self.awaits + 1 == self._at:
            self.stuck.set()
            await asyncio.Event().wait()

    async def emit(self, event: Event) -> None:
        await self._maybe_stop()
        await super().emit(event)

    async def checkpoint(self, completion: Any) -> Any:
        await self._maybe_stop()
        return await super().checkpoint(completion)

    async def call(self, call_id: str) -> Any:
        await self._maybe_stop()
        return await super().call(call_id)

    async def take_steering(self) -> Any:
        await self._maybe_stop()
        return await super().take_steering()


class InterruptedLeg(RecordingLeg):
    """A leg whose user sends a text while the first answer is streamed."""

    def __init__(self, world: World, text: str) -> None:
        super().__init__(world, None)
        self._text: str | None = text

    async def emit(self, event: Event) -> None:
        if self._text and isinstance(event, MessageDelta):
            self.world.waiting_texts.append(self._text)
            self._text = None
        await super().emit(event)
