"""The loop is the same over every wire a provider may speak."""

from __future__ import annotations

from typing import Any

import pytest

from agents_app.engine import Engine, Failed, Finished
from agents_app.events import MessageDelta, ThinkingDelta
from agents_app.registry import engine_get
from tests.agents.engine_contract import SCHEMA
from tests.agents.recording_leg import World, session_of

pytestmark = [
    pytest.mark.usefixtures("upstream"),
    pytest.mark.parametrize("provider", ["scripted", "messages", "responses"]),
]


@pytest.fixture
def engine() -> Engine:
    return engine_get("model")


def asked(provider: str, model: str, **session: Any) -> World:
    world = World(session_of(f"{provider}:{model}", **session))
    world.prompt("Hi")
    return world


async def finished(engine: Engine, world: World) -> str:
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Finished), outcome
    return outcome.content


async def test_text_is_streamed_and_counted(engine: Engine, provider: str) -> None:
    world = asked(provider, "words:5")
    assert await finished(engine, world) == "word0 word1 word2 word3 word4 "
    assert len(world.events_of(MessageDelta)) == 5
    assert world.usage[0].output_tokens == 7
    assert world.usage[0].cached_tokens == 3


async def test_reasoning_is_streamed_apart(engine: Engine, provider: str) -> None:
    world = asked(provider, "reasoning")
    assert await finished(engine, world) == "Then I answer."
    assert "".join(event.delta for event in world.events_of(ThinkingDelta)) == "First, I think."


async def test_parallel_calls_are_told_apart_and_answered(engine: Engine, provider: str) -> None:
    world = asked(provider, "parallel:3")
    world.tools["echo"] = lambda args: f"<{args['x']}>"
    assert await finished(engine, world) == "Tools said: <0> | <1> | <2>"


async def test_malformed_arguments_are_answered_like_any_call(engine: Engine, provider: str) -> None:
    assert (await finished(engine, asked(provider, "malformed"))).count("not a JSON object") == 2


async def test_unclean_strings_are_cleaned(engine: Engine, provider: str) -> None:
    world = asked(provider, "unclean")
    assert await finished(engine, world) == "a\ufffdb\ufffdc"
    assert all(b"\\u0000" not in turn.payload for turn in world.turns)


async def test_an_answer_fits_the_response_format(engine: Engine, provider: str) -> None:
    assert await finished(engine, asked(provider, "structured:1", response_format=SCHEMA)) == '{"city":"Rome"}'


async def test_a_conversation_is_taken_up_from_what_was_stored(engine: Engine, provider: str) -> None:
    world = asked(provider, "parallel:2")
    await finished(engine, world)
    world.prompt("And again")
    assert "Tools said" in await finished(engine, world)


@pytest.mark.parametrize(
    ("model", "code", "retryable"),
    [
        ("status:500", "upstream_error", True),
        ("status:529", "upstream_error", True),
        ("status:429", "rate_limited", True),
        ("status:401", "upstream_error", False),
        ("status:404", "unprocessable", False),
        ("status:400", "bad_request", False),
        ("drop:2", "upstream_error", True),
        ("cut", "upstream_error", True),
    ],
)
async def test_a_failure_has_its_code(engine: Engine, provider: str, model: str, code: str, retryable: bool) -> None:
    outcome = await engine.run_leg(asked(provider, model).leg())
    assert isinstance(outcome, Failed), outcome
    assert (outcome.code, outcome.retryable) == (code, retryable)
    assert "SECRET" not in outcome.reason
