"""The request for a summary is like any other model request: circuit, budget and cost apply."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart, UserPromptPart
from pydantic_ai.models.function import AgentInfo, FunctionModel

from agents_app.events import ContextSummarized, ContextTruncated
from agents_app.history_trim import SUMMARY_TRIES, fit_history
from agents_app.ready_model import Feed, ServedModel, Spans, Spending, begin_at_once
from inference_app.errors import BudgetSpent, ProviderRefusal
from inference_app.providers.retry_policy import Fault
from inference_app.relay.attempt import AttemptFailed
from inference_app.spend.budgets import Reservation
from inference_app.spend.ledger_sums import Spend
from tests.agents.recording_leg import RecordingLeg, World, session_of

Answer = Callable[[], str]


class RecordingLimits:
    """A circuit and a budget with fixed answers, which record the calls."""

    def __init__(self, *, resting: bool = False, spent: str | None = None) -> None:
        self.asked = 0
        self._resting, self._spent = resting, spent

    def cooldown_remaining(self) -> float | None:
        return 1.0 if self._resting else None

    def observe(self, spending: Spending, spans: Spans, feed: Feed | None = None) -> bool:
        self.asked += 1
        return begin_at_once(spending, spans)

    async def reserve(self, messages: Sequence[ModelMessage]) -> Reservation | None:
        if self._spent is not None:
            raise BudgetSpent(self._spent)
        self.held = Reservation([], Spend(1), (None, None))
        return self.held


@pytest.fixture
def leg() -> RecordingLeg:
    return World(session_of("m:m", history_policy="summarize")).leg()


async def trim(leg: RecordingLeg, limits: RecordingLimits, answer: Answer) -> list[ModelMessage]:
    """Trims a conversation of three prompts, with a model that gives `answer` as the summary."""

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        yield answer()

    model = FunctionModel(stream_function=stream)
    served = ServedModel(
        "m:m", model, lambda usage: None, observe=limits.observe, says_end=False, circuit=limits, budget=limits
    )
    messages: list[ModelMessage] = [
        message
        for number in range(3)
        for message in (
            ModelRequest(parts=[UserPromptPart(f"{number}" * 400)]),
            ModelResponse(parts=[TextPart("a" * 400)]),
        )
    ]
    short = await fit_history(leg, served, messages, None)
    assert short is not None
    assert len(short.messages) < len(messages)
    return short.messages


def fail_if_asked() -> str:
    raise AssertionError("The model was asked.")


def raise_error() -> str:
    raise AttemptFailed(Fault("status", "500", 500))


def raise_too_long() -> str:
    refusal = ProviderRefusal(400, "It is too long.", code="context_length_exceeded")
    raise AttemptFailed(Fault("status", "400", 400), refusal)


async def test_a_summary_is_charged_by_itself(leg: RecordingLeg) -> None:
    limits = RecordingLimits()
    kept = await trim(leg, limits, lambda: "the gist")
    assert "the gist" in str(kept[0])
    assert leg.world.events_of(ContextSummarized)
    assert limits.asked == 1
    (usage,) = leg.world.spent
    assert limits.held.spent == Spend(usage.input_tokens + usage.output_tokens)
    assert (leg.world.requests, leg.world.unfenced) == (1, [])


async def test_a_summary_that_says_nothing_is_charged_too(leg: RecordingLeg) -> None:
    limits = RecordingLimits()
    await trim(leg, limits, lambda: " ")
    assert leg.world.events_of(ContextTruncated)
    assert len(leg.world.spent) == 1


@pytest.mark.parametrize("limits", [RecordingLimits(resting=True), RecordingLimits(spent="It is spent.")])
async def test_no_summary_is_asked_for_while_the_provider_rests_or_the_budget_is_spent(
    leg: RecordingLeg, limits: RecordingLimits
) -> None:
    await trim(leg, limits, fail_if_asked)
    assert leg.world.events_of(ContextTruncated)
    assert (limits.asked, leg.world.spent) == (0, [])


@pytest.mark.parametrize(("answer", "tries"), [(raise_too_long, SUMMARY_TRIES), (raise_error, 1)])
async def test_a_summary_is_asked_for_again_only_with_a_shorter_transcript(
    leg: RecordingLeg, answer: Answer, tries: int
) -> None:
    limits = RecordingLimits()
    await trim(leg, limits, answer)
    assert leg.world.events_of(ContextTruncated)
    assert (limits.asked, leg.world.spent) == (tries, [])
    assert limits.held.spent == Spend()
