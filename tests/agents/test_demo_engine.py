"""The demo engine: the contract of engines, and the contract's section "Offline engine"."""

from __future__ import annotations

import asyncio

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


def toured(prompt: str, *tools: str, model: str = "demo:tour") -> World:
    world = World(session_of(model, tools=tuple(ToolSpec(name, "", {"type": "object"}) for name in tools)))
    world.prompt(prompt)
    return world


async def finished(engine: Engine, world: World) -> str:
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Finished)
    return outcome.content


async def test_the_tour_says_first_that_it_is_a_demo_and_quotes_the_prompt(engine: Engine) -> None:
    content = await finished(engine, toured("What is the weather?"))
    first = content.split(": ")[0]
    assert "demo" in first
    assert "“What is the weather?”" in content


@pytest.mark.parametrize(
    "text", ["hello", "  two  spaces\n\nand lines ", " \n ", "use echo and fail", "naïve ünïcödé 🙂"]
)
async def test_echo_answers_with_the_prompt_and_nothing_else(engine: Engine, text: str) -> None:
    assert await finished(engine, toured(text, "echo", model="demo:echo")) == text


@pytest.mark.parametrize("model", ["echo", "tour"])
async def test_a_prompt_whose_run_came_to_nothing_is_not_answered_with_the_next(engine: Engine, model: str) -> None:
    world = toured("fail", model=f"demo:{model}")
    world.prompt("hello")
    content = await finished(engine, world)
    assert content == "hello" if model == "echo" else "“hello”" in content


async def test_the_tour_thinks_before_it_answers(engine: Engine) -> None:
    world = toured("think about it")
    await finished(engine, world)
    kinds = [type(event) for event in world.events]
    assert kinds.count(ThinkingStart) == 1
    assert kinds.index(ThinkingStart) < kinds.index(ThinkingDelta) < kinds.index(MessageDelta)


async def test_the_tour_calls_the_tools_it_is_told_to_with_the_arguments_that_follow(engine: Engine) -> None:
    world = toured('use lamp {"on": true} then use echo', "lamp", "echo")
    world.tools = {"lamp": lambda args: "it is on", "echo": lambda args: "said"}
    content = await finished(engine, world)
    assert [(call.name, call.args) for call in world.executed] == [("lamp", {"on": True}), ("echo", {})]
    assert "lamp answered: it is on" in content
    assert "echo answered: said" in content


async def test_the_tour_calls_no_tool_that_the_session_has_not(engine: Engine) -> None:
    world = toured("use the force, use sudo", "echo")
    await finished(engine, world)
    assert world.calls == {}


@pytest.mark.parametrize(("word", "tool"), [("ask", "ask_user"), ("approve", "demo_approval")])
async def test_the_tour_asks_and_needs_approval(engine: Engine, word: str, tool: str) -> None:
    world = toured(f"please {word}", "ask_user", "demo_approval")
    world.tools = {"ask_user": lambda args: None, "demo_approval": lambda args: None}
    assert await engine.run_leg(world.leg()) == Waiting()
    assert [call.name for call in world.pending()] == [tool]
    assert engine_get("demo").builtin_tools == ("ask_user", "demo_approval")


async def test_a_long_answer_has_a_delta_for_every_word(engine: Engine) -> None:
    short, long = toured("long 0"), toured("long 50")
    await finished(engine, short)
    await finished(engine, long)
    assert len(long.events_of(MessageDelta)) - len(short.events_of(MessageDelta)) == 50


async def test_the_tour_is_the_same_every_time(engine: Engine) -> None:
    contents = {await finished(engine, toured("think and use echo", "echo")) for _ in range(2)}
    assert len(contents) == 1


async def test_a_pause_between_deltas_lets_others_work(engine: Engine) -> None:
    world = toured("long 5")
    world.session = session_of("demo:tour", options={"delayMs": 1})
    turns_of_the_loop = 0

    async def counting() -> None:
        nonlocal turns_of_the_loop
        while True:
            turns_of_the_loop += 1
            await asyncio.sleep(0)

    task = asyncio.create_task(counting())
    await finished(engine, world)
    task.cancel()
    assert turns_of_the_loop > len(world.events)


async def test_an_unknown_demo_model_is_a_failure_not_a_crash(engine: Engine) -> None:
    outcome = await engine.run_leg(toured("hi", model="demo:nope").leg())
    assert isinstance(outcome, Failed)
    assert outcome.code == "unprocessable"
