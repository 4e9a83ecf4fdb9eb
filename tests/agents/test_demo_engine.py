"""The demo engine passes the suite of engines and behaves as docs/protocol-native.md says."""

from __future__ import annotations

import asyncio
import json

import pytest

from agents_app.engine import Engine, Failed, Finished, Waiting
from agents_app.events import MessageDelta, ThinkingDelta, ThinkingStart
from agents_app.registry import engine_get
from tests.agents.engine_contract import EngineContract
from tests.agents.recording_leg import World, session_of
from tools_app.types import ToolSpec


@pytest.fixture
def engine() -> Engine:
    return engine_get("demo")


class TestDemoKeepsTheContract(EngineContract):
    def situation(self, name: str) -> tuple[str, str]:
        prompts = {
            "answer": "hello there",
            "tool": 'use echo {"x": 1}',
            "later": "use later",
            "mixed": "use echo and use later",
            "failing": "fail",
            "structured": "hello",
        }
        return "demo:tour", prompts[name]


def tour_world(prompt: str, *tools: str, model: str = "demo:tour") -> World:
    world = World(session_of(model, tools=tuple(ToolSpec(name, "", {"type": "object"}) for name in tools)))
    world.prompt(prompt)
    return world


async def run_to_answer(engine: Engine, world: World) -> str:
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Finished)
    return outcome.content


async def test_the_tour_says_first_that_it_is_a_demo_and_quotes_the_prompt(engine: Engine) -> None:
    content = await run_to_answer(engine, tour_world("What is the weather?"))
    first = content.split(": ")[0]
    assert "demo" in first
    assert "“What is the weather?”" in content


@pytest.mark.parametrize(
    "text", ["hello", "  two  spaces\n\nand lines ", " \n ", "use echo and fail", "naïve ünïcödé 🙂"]
)
async def test_echo_answers_with_the_prompt_and_nothing_else(engine: Engine, text: str) -> None:
    assert await run_to_answer(engine, tour_world(text, "echo", model="demo:echo")) == text


@pytest.mark.parametrize("model", ["echo", "tour"])
async def test_a_prompt_whose_run_came_to_nothing_is_not_answered_with_the_next(engine: Engine, model: str) -> None:
    world = tour_world("fail", model=f"demo:{model}")
    world.prompt("hello")
    content = await run_to_answer(engine, world)
    assert content == "hello" if model == "echo" else "“hello”" in content


async def test_the_tour_thinks_before_it_answers(engine: Engine) -> None:
    world = tour_world("think about it")
    await run_to_answer(engine, world)
    kinds = [type(event) for event in world.events]
    assert kinds.count(ThinkingStart) == 1
    assert kinds.index(ThinkingStart) < kinds.index(ThinkingDelta) < kinds.index(MessageDelta)


async def test_the_tour_calls_the_tools_it_is_told_to_with_the_arguments_that_follow(engine: Engine) -> None:
    world = tour_world('use lamp {"on": true} then use echo', "lamp", "echo")
    world.tools = {"lamp": lambda args: "it is on", "echo": lambda args: "said"}
    content = await run_to_answer(engine, world)
    assert [(call.name, call.args) for call in world.executed] == [("lamp", {"on": True}), ("echo", {})]
    assert "lamp answered: it is on" in content
    assert "echo answered: said" in content


async def test_the_tour_calls_no_tool_that_the_session_has_not(engine: Engine) -> None:
    world = tour_world("use the force, use sudo", "echo")
    await run_to_answer(engine, world)
    assert world.calls == {}


@pytest.mark.parametrize(("word", "tool"), [("ask", "ask_user"), ("approve", "demo_approval")])
async def test_the_tour_asks_and_needs_approval(engine: Engine, word: str, tool: str) -> None:
    world = tour_world(f"please {word}", "ask_user", "demo_approval")
    world.tools = {"ask_user": lambda args: None, "demo_approval": lambda args: None}
    assert await engine.run_leg(world.leg()) == Waiting()
    assert [call.name for call in world.pending_calls()] == [tool]
    assert engine_get("demo").builtin_tools == ("ask_user", "demo_approval")


async def test_a_long_answer_has_a_delta_for_every_word(engine: Engine) -> None:
    short, long = tour_world("long 0"), tour_world("long 50")
    await run_to_answer(engine, short)
    await run_to_answer(engine, long)
    assert len(long.events_of(MessageDelta)) - len(short.events_of(MessageDelta)) == 50


async def test_the_tour_is_the_same_every_time(engine: Engine) -> None:
    contents = {await run_to_answer(engine, tour_world("think and use echo", "echo")) for _ in range(2)}
    assert len(contents) == 1


async def test_a_pause_between_deltas_lets_others_work(engine: Engine) -> None:
    world = tour_world("long 5")
    world.session = session_of("demo:tour", options={"delayMs": 1})
    loop_rounds = 0

    async def count_rounds() -> None:
        nonlocal loop_rounds
        while True:
            loop_rounds += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(count_rounds())
    await run_to_answer(engine, world)
    task.cancel()
    assert loop_rounds > len(world.events)


async def test_an_unknown_demo_model_is_a_failure_not_a_crash(engine: Engine) -> None:
    outcome = await engine.run_leg(tour_world("hi", model="demo:nope").leg())
    assert isinstance(outcome, Failed)
    assert outcome.code == "unprocessable"


async def test_a_prompt_of_a_million_uses_makes_a_hundred_calls(engine: Engine) -> None:
    """It copied the rest of the prompt at each use: 1 MiB took 11 s on the event loop."""
    world = tour_world("use t " * 170_000, "t")
    world.tools["t"] = lambda args: "done"
    assert isinstance(await engine.run_leg(world.leg()), Finished)
    assert len(world.executed) == 100


async def test_arguments_begin_right_after_the_name_and_are_bounded(engine: Engine) -> None:
    long = json.dumps({"x": "y" * 20_000})
    world = tour_world(f'use t  {{"x": 1}} use t use t {long}', "t")
    world.tools["t"] = lambda args: "done"
    await engine.run_leg(world.leg())
    assert [call.args for call in world.executed] == [{"x": 1}, {}, {}]


async def test_a_schema_of_a_billion_items_is_not_filled(engine: Engine) -> None:
    items = {"type": "array", "minItems": 10**9, "items": {"type": "array", "minItems": 10**9}}
    world = World(session_of("demo:tour", tools=(), response_format={"type": "object", "properties": {"a": items}}))
    world.prompt("hello")
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Failed)
    assert outcome.code == "unprocessable"


async def test_the_tour_wishes_nothing_that_its_prompt_quotes(engine: Engine) -> None:
    """A step of a pipeline gets the answer of the step before, which names words to try."""
    prompt = "Go on: you wrote “fail, think “long 200””.\nTry: “approve this”, “use demo_approval”, “fail”."
    world = tour_world(prompt, "demo_approval", "ask_user")
    content = await run_to_answer(engine, world)
    assert ThinkingStart not in [type(event) for event in world.events]
    assert len(content) < 400
