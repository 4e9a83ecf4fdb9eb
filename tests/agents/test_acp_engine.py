"""Agents that speak the Agent Client Protocol: the suite of engines, permissions, files, and hostile agents."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agents_app.acp.parked import MAX_PARKED, MISSES, PARKED
from agents_app.directory.entries import AGENTS
from agents_app.engine import Engine, Failed, Finished, LegOutcome, Waiting
from agents_app.events import AgentEvent, MessageDelta, ThinkingDelta
from agents_app.registry import engine_get
from tests.agents.engine_contract import EngineContract
from tests.agents.recording_leg import Crash, World, session_of
from tests.agents.test_program_engines import ReadyLeg, alive, family

AGENT = Path(__file__).with_name("acp_agent.py")


@pytest.fixture
def configure(settings: Any, tmp_path: Path) -> Callable[..., None]:
    """Sets the fields of the agent `coder`, and a data directory of the test's own."""
    settings.GATEWAY_DATA_DIR = tmp_path / "data"
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"

    def write(**fields: Any) -> None:
        entry = {"id": "coder", "type": "acp", "command": sys.executable, "args": [str(AGENT)], **fields}
        settings.GATEWAY_CONFIG.write_text(json.dumps({"agents": [entry]}), encoding="utf-8")
        AGENTS.forget()

    write()
    return write


@pytest_asyncio.fixture
async def engine(configure: Callable[..., None]) -> AsyncIterator[Engine]:
    yield engine_get("acp")
    await PARKED.stop()


def world_of(prompt: str, **session: Any) -> World:
    world = World(session_of("acp:coder", agent="coder", **session))
    world.prompt(prompt)
    return world


async def answer_of(engine: Engine, prompt: str, **session: Any) -> str:
    outcome = await engine.run_leg(world_of(prompt, **session).leg())
    assert isinstance(outcome, Finished)
    return outcome.content


async def failure_of(engine: Engine, world: World) -> Failed:
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Failed)
    assert "SECRET" not in outcome.reason
    return outcome


def directory_of(tmp_path: Path) -> Path:
    (directory,) = tmp_path.glob("data/agents/*")
    return directory


def asked(tmp_path: Path) -> list[str]:
    """The names of what the agent asked permission for, in order."""
    return (directory_of(tmp_path) / "asked").read_text(encoding="utf-8").split()


class TestAcpKeepsTheContract(EngineContract):
    reports_usage = False

    def situation(self, name: str) -> tuple[str, str]:
        prompts = {
            "answer": "hello there",
            "tool": "use echo",
            "later": "use later",
            "mixed": "both",
            "failing": "fail",
        }
        return "acp:coder", prompts[name]


async def test_a_tool_that_needs_permission_is_a_call_that_the_agent_makes_itself(engine: Engine) -> None:
    world = world_of("use later")
    assert await engine.run_leg(world.leg()) == Waiting()
    (request,) = world.completions[0].calls
    assert (request.name, request.args, request.provider_id) == ("later", {"x": 1}, "t-later")
    assert request.for_agent
    assert request.approval_hint is not None
    assert "execute" in request.approval_hint
    call = world.pending_calls()[0]
    world.settle(call.call_id, "Permitted.")
    assert await engine.run_leg(world.leg()) == Finished("Decided: yes Permitted.")
    told = world.events_of(AgentEvent)
    assert [(event.name, event.data["agentCallId"]) for event in told] == [
        ("tool_call", "t-later"),
        ("tool_call_update", "t-later"),
    ]
    assert told[1].data["result"] == {"done": True}


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        ([], "ok", "yes"),
        ([], "rejected", "no"),
        ([], "timeout", "no"),
        (["bare"], "ok", "always"),
        (["bare"], "rejected", "cancelled"),
    ],
)
async def test_a_decision_selects_the_first_option_of_its_kind(
    engine: Engine, configure: Callable[..., None], args: list[str], status: str, told: str
) -> None:
    configure(args=[str(AGENT), *args])
    world = world_of("use later")
    await engine.run_leg(world.leg())
    world.settle(world.pending_calls()[0].call_id, "Why.", status)
    assert await engine.run_leg(world.leg()) == Finished(f"Decided: {told} Why.")


async def test_an_agent_keeps_its_place_while_it_waits(engine: Engine, tmp_path: Path) -> None:
    world = world_of("twice later")
    world.tools["echo"] = lambda args: None
    assert await engine.run_leg(world.leg()) == Waiting()
    world.settle(world.pending_calls()[0].call_id, "one")
    assert await engine.run_leg(world.leg()) == Waiting()
    world.settle(world.pending_calls()[0].call_id, "two")
    assert await engine.run_leg(world.leg()) == Finished("yes one; yes two")
    assert [completion.text for completion in world.completions] == ["", "between. ", "yes one; yes two"]
    assert asked(tmp_path) == ["echo", "echo"]


@pytest.mark.parametrize("args", [[], ["noload"]])
async def test_an_agent_that_is_gone_when_the_decision_comes_is_started_again_and_asks_nobody_twice(
    engine: Engine, configure: Callable[..., None], tmp_path: Path, args: list[str]
) -> None:
    configure(args=[str(AGENT), *args])
    world = world_of("use later")
    assert await engine.run_leg(world.leg()) == Waiting()
    await PARKED.end(world.run_id)
    world.settle(world.pending_calls()[0].call_id, "late")
    assert await engine.run_leg(world.leg()) == Finished("Decided: yes late")
    assert asked(tmp_path) == ["later", "later"]
    assert len(world.completions) == 2


async def test_a_decision_is_for_one_request(engine: Engine) -> None:
    world = world_of("edits same")
    assert await engine.run_leg(world.leg()) == Waiting()
    world.settle(world.pending_calls()[0].call_id, "one")
    assert await engine.run_leg(world.leg()) == Waiting()
    world.settle(world.pending_calls()[0].call_id, "two", "rejected")
    assert await engine.run_leg(world.leg()) == Finished("yes one; no two")


async def test_an_agent_that_was_started_again_is_given_no_decision_about_another_edit(engine: Engine) -> None:
    world = world_of("edits changing")
    assert await engine.run_leg(world.leg()) == Waiting()
    await PARKED.end(world.run_id)
    for comment in ("one", "two", "three"):
        world.settle(world.pending_calls()[0].call_id, comment)
        outcome = await engine.run_leg(world.leg())
    assert outcome == Finished("yes two; yes three")


@pytest.mark.parametrize("args", [[], ["noload"]])
async def test_the_next_prompt_continues_the_agents_session_or_brings_the_conversation(
    engine: Engine, configure: Callable[..., None], args: list[str]
) -> None:
    configure(args=[str(AGENT), *args])
    world = world_of("hello", system_prompt="Be kind.")
    first = await engine.run_leg(world.leg())
    world.prompt("more")
    second = await engine.run_leg(world.leg())
    assert first == Finished("You said Be kind.\n\nhello.")
    if not args:
        assert second == Finished("You said more.")
        return
    assert isinstance(second, Finished)
    assert second.content.startswith("You said Be kind.\n\nThe conversation so far:\n\nuser: hello\n\nassistant: ")
    assert second.content.endswith("\n\nmore.")


async def test_an_agent_that_lost_its_session_begins_a_new_one(engine: Engine, tmp_path: Path) -> None:
    world = world_of("hello")
    await engine.run_leg(world.leg())
    (directory_of(tmp_path) / "session.json").unlink()
    world.prompt("more")
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Finished)
    assert outcome.content.endswith("more.")


async def test_reasoning_and_plans_are_told(engine: Engine) -> None:
    world = world_of("think")
    assert await engine.run_leg(world.leg()) == Finished("Thought.")
    assert [event.delta for event in world.events_of(ThinkingDelta)] == ["Hm."]
    (plan,) = world.events_of(AgentEvent)
    assert (plan.name, plan.data["entries"][0]["content"]) == ("plan", "Look")


async def test_usage_is_what_the_agent_reports(engine: Engine) -> None:
    world = world_of("usage")
    await engine.run_leg(world.leg())
    (usage,) = world.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens, usage.reasoning_tokens) == (8, 7, 3, 2)
    assert usage.cost_usd is None


async def test_a_cancelled_prompt_is_cancelled_at_the_agent_and_ended_with_its_children(
    engine: Engine, tmp_path: Path
) -> None:
    leg = ReadyLeg(world_of("never end"))
    running = asyncio.create_task(engine.run_leg(leg))
    async with asyncio.timeout(60):
        await leg.ready.wait()
        pids = family(tmp_path)
        assert len(alive(pids)) == 3
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled()
    assert (directory_of(tmp_path) / "cancelled").exists()
    assert alive(pids) == []


async def test_an_agent_that_does_not_hear_a_cancellation_is_ended_all_the_same(engine: Engine, tmp_path: Path) -> None:
    leg = ReadyLeg(world_of("deaf"))
    running = asyncio.create_task(engine.run_leg(leg))
    async with asyncio.timeout(60):
        await leg.ready.wait()
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled()
    assert alive(family(tmp_path)) == []


async def test_a_waiting_agent_is_ended_when_its_run_is_over(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paused: set[str] = set()

    async def run(function: Any, *args: Any) -> Any:
        return function(*args)

    monkeypatch.setattr("agents_app.acp.parked.database.run", run)
    monkeypatch.setattr(PARKED, "_paused", lambda run_ids: paused)
    world = world_of("ask")
    world.tools["echo"] = lambda args: None
    paused.add(world.run_id)
    assert await engine.run_leg(world.leg()) == Waiting()
    await PARKED.check()
    assert len(alive(family(tmp_path))) == 3
    paused.clear()
    for _ in range(MISSES):
        await PARKED.check()
    assert alive(family(tmp_path)) == []


async def test_the_agent_that_has_waited_longest_makes_room(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agents_app.acp.parked.MAX_PARKED", 1)
    assert MAX_PARKED > 1
    for session in ("s1", "s2"):
        world = world_of("use later", session_id=session)
        assert await engine.run_leg(world.leg()) == Waiting()
    assert len(PARKED._programs) == 1
    assert world.run_id in PARKED._programs


async def test_a_run_that_ends_while_its_agent_waits_ends_the_agent(engine: Engine, tmp_path: Path) -> None:
    world = world_of("ask", max_turns=1)
    world.tools["echo"] = lambda args: None
    assert await engine.run_leg(world.leg()) == Waiting()
    world.settle(world.pending_calls()[0].call_id, "late")
    assert not isinstance(await engine.run_leg(world.leg()), Finished)
    assert alive(family(tmp_path)) == []


async def test_a_leg_that_dies_leaves_no_agent_behind(engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(Crash):
        await engine.run_leg(world_of("ask").leg(crash_at=(3, False)))
    assert alive(family(tmp_path)) == []


async def test_files_of_the_sessions_directory_are_read_and_written(engine: Engine, tmp_path: Path) -> None:
    assert await answer_of(engine, "write CWD/new/file.txt some text") == "{}"
    assert (directory_of(tmp_path) / "new" / "file.txt").read_text(encoding="utf-8") == "some text"
    assert json.loads(await answer_of(engine, "read new/file.txt")) == {"content": "some text"}


@pytest.mark.parametrize("act", ["read", "write"])
@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "../out/file.txt", "CWD/../out/file.txt", "link/file.txt", "CWD/link/file.txt", "filelink", "pipe",
     "/", "CWD", ".", "", "folder"],
)  # fmt: skip
async def test_files_elsewhere_are_refused(engine: Engine, tmp_path: Path, act: str, path: str) -> None:
    await answer_of(engine, "hello")
    directory = directory_of(tmp_path)
    outside = directory.parent / "out"
    outside.mkdir()
    (outside / "file.txt").write_text("SECRET", encoding="utf-8")
    (directory / "link").symlink_to(outside)
    (directory / "filelink").symlink_to(outside / "file.txt")
    (directory / "folder").mkdir()
    os.mkfifo(directory / "pipe")
    told = await answer_of(engine, f"{act} {path} owned")
    assert isinstance(json.loads(told), str)
    assert "SECRET" not in told
    assert (outside / "file.txt").read_text(encoding="utf-8") == "SECRET"
    assert os.listdir(outside) == ["file.txt"]


async def test_terminals_are_refused(engine: Engine) -> None:
    assert await answer_of(engine, "terminal x") == '"Method not found"'


async def test_messages_that_are_no_acp_get_errors_and_news_of_the_future_is_skipped(engine: Engine) -> None:
    assert await answer_of(engine, "odd") == "-32602"


@pytest.mark.parametrize(
    ("prompt", "code"),
    [
        ("refuse", "upstream_error"),
        ("error", "upstream_error"),
        ("nonsense", "upstream_error"),
        ("broken", "upstream_error"),
        ("crash", "upstream_error"),
    ],
)
async def test_an_agent_that_fails_fails_its_run_and_keeps_what_it_said(engine: Engine, prompt: str, code: str) -> None:
    world = world_of(prompt)
    assert (await failure_of(engine, world)).code == code
    said = {"broken": ["One. "], "crash": ["Half an "]}.get(prompt, [])
    assert [completion.text for completion in world.completions] == said
    world.prompt("hello")
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Finished)
    assert outcome.content.endswith("hello.")


@pytest.mark.parametrize(
    ("prompt", "setting"),
    [
        ("flood", "GATEWAY_AGENT_OUTPUT_BYTES"),
        ("line", "GATEWAY_AGENT_LINE_BYTES"),
    ],
)
async def test_an_agent_that_floods_the_gateway_fails_its_run(
    engine: Engine, prompt: str, setting: str, settings: Any
) -> None:
    settings.GATEWAY_AGENT_OUTPUT_BYTES = 3_000_000
    world = world_of(prompt)
    assert setting in (await failure_of(engine, world)).reason
    assert sum(len(event.delta) for event in world.events_of(MessageDelta)) < 3_000_000


async def test_an_agent_that_never_ends_is_ended_when_its_time_is_over(
    engine: Engine, configure: Callable[..., None], tmp_path: Path
) -> None:
    configure(timeout=3)
    assert (await failure_of(engine, world_of("deaf"))).code == "timeout"
    assert alive(family(tmp_path)) == []


async def test_an_agent_that_asks_without_end_and_reads_no_answer_waits_for_its_end(
    engine: Engine, configure: Callable[..., None]
) -> None:
    configure(timeout=3)
    assert (await failure_of(engine, world_of("requests"))).code == "timeout"


async def test_an_agent_has_a_clean_environment_and_nothing_of_a_prompt_on_its_command_line(
    engine: Engine, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GATEWAY_SECRET_KEY", "SECRET")
    configure(env={"MODE": "fast"})
    told = json.loads(await answer_of(engine, "where --help"))
    assert told["argv"] == []
    assert set(told["env"]) <= {"HOME", "PATH", "LANG", "TZ", "MODE", "LC_CTYPE"}
    assert told["env"]["HOME"] == told["cwd"]


@pytest.mark.parametrize("fields", [{"command": "/no/such/program"}, {"command": ""}, {"args": ["-c", "pass"]}])
async def test_a_program_that_is_no_agent_says_so(
    engine: Engine, configure: Callable[..., None], fields: dict[str, Any]
) -> None:
    configure(**fields)
    await failure_of(engine, world_of("hello"))


async def run_all(engine: Engine, worlds: list[World]) -> list[LegOutcome]:
    return list(await asyncio.gather(*(engine.run_leg(world.leg()) for world in worlds)))


async def test_a_hostile_agent_harms_no_other_run(engine: Engine, settings: Any) -> None:
    settings.GATEWAY_AGENT_OUTPUT_BYTES = 500_000
    worlds = [world_of(prompt, session_id=f"s{number}") for number, prompt in enumerate(("flood", "line", "hello"))]
    outcomes = await run_all(engine, worlds)
    assert [type(outcome) for outcome in outcomes] == [Failed, Failed, Finished]
