"""Published agents of the Agent Client Protocol behind the engine `acp`, with this gateway as their model.

The provider is scripted: it looks at a file, mends it and reports. Agents that are not installed are skipped;
GATEWAY_TEST_ASSISTANTS names a folder to search besides those of PATH.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import pytest_asyncio

from agents_app.acp.parked import PARKED
from agents_app.directory.entries import AGENTS
from agents_app.engine import Engine, Failed, Finished, Waiting
from agents_app.events import AgentEvent, MessageDelta
from agents_app.programs.directories import directory_make
from agents_app.registry import engine_get
from events_app.types import Event
from tests.agents.conftest import Upstream
from tests.agents.recording_leg import RecordingLeg, World, session_of
from tests.api.served import Served
from tests.faces.responses.assistants import find_program
from tests.faces.responses.test_installed_assistants import BROKEN, MENDED

SECONDS = 240
MODEL = "plain:assistant"


def opencode(gateway: Served, home: Path) -> dict[str, Any]:
    options = {"baseURL": f"{gateway.url}/v1", "apiKey": gateway.keys["owner"]}
    provider = {"npm": "@ai-sdk/openai-compatible", "name": "Gateway", "options": options, "models": {MODEL: {}}}
    names = {"model": f"gateway/{MODEL}", "small_model": f"gateway/{MODEL}"}
    config = {"provider": {"gateway": provider}, **names, "permission": {"bash": "ask"}, "autoupdate": False}
    path = home / "opencode.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return {"args": ["acp"], "env": {"OPENCODE_CONFIG": str(path)}}


def claude_code_acp(gateway: Served, home: Path) -> dict[str, Any]:
    env = {
        "ANTHROPIC_BASE_URL": gateway.url,
        "ANTHROPIC_AUTH_TOKEN": gateway.keys["owner"],
        "ANTHROPIC_MODEL": MODEL,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": MODEL,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": MODEL,
        "ANTHROPIC_DEFAULT_OPUS_MODEL": MODEL,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    return {"args": [], "env": env}


AGENT_ENTRIES: dict[str, Callable[[Served, Path], dict[str, Any]]] = {
    "opencode": opencode,
    "claude-code-acp": claude_code_acp,
}


def cases() -> list[Any]:
    """Returns the agents; those that are not installed are skipped before any fixture starts."""
    missing = "{} is not installed (GATEWAY_TEST_ASSISTANTS may name the folder it is in)"
    return [
        pytest.param(name, marks=pytest.mark.skipif(find_program(name) is None, reason=missing.format(name)))
        for name in AGENT_ENTRIES
    ]


pytestmark = [pytest.mark.timeout(SECONDS + 30), pytest.mark.parametrize("name", cases())]


@pytest_asyncio.fixture
async def engine(name: str, gateway: Served, plain: Upstream, settings: Any, tmp_path: Path) -> AsyncIterator[Engine]:
    settings.GATEWAY_DATA_DIR = tmp_path / "data"
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    # These programs reserve far more address space than they use.
    entry = {"id": "coder", "type": "acp", "command": find_program(name), "memory_bytes": 0}
    entry |= AGENT_ENTRIES[name](gateway, tmp_path)
    settings.GATEWAY_CONFIG.write_text(json.dumps({"agents": [entry]}), encoding="utf-8")
    AGENTS.forget()
    (directory_make(1, "s1") / "sum.py").write_text(BROKEN, encoding="utf-8")
    yield engine_get("acp")
    await PARKED.stop()


def task() -> World:
    world = World(session_of("acp:coder", agent="coder"))
    world.prompt("Fix sum.py")
    return world


def mended() -> str:
    return (directory_make(1, "s1") / "sum.py").read_text(encoding="utf-8")


async def decide(engine: Engine, world: World, status: str, *, limit: int = 10) -> Any:
    """Runs legs, deciding about all that the agent asks, until the run ends."""
    async with asyncio.timeout(SECONDS):
        outcome = await engine.run_leg(world.leg())
        for _ in range(limit):
            if not isinstance(outcome, Waiting):
                break
            for call in world.pending_calls():
                world.settle(call.call_id, "Decided.", status)
            outcome = await engine.run_leg(world.leg())
    return outcome


class ToldLeg(RecordingLeg):
    """A leg that tells when its agent has said something."""

    def __init__(self, world: World) -> None:
        super().__init__(world, None)
        self.told = asyncio.Event()

    async def emit(self, event: Event) -> None:
        await super().emit(event)
        self.told.set()


def descendants() -> list[Any]:
    return list(psutil.Process(os.getpid()).children(recursive=True))


async def test_an_approved_agent_finishes_its_task(engine: Engine, name: str) -> None:
    world = task()
    outcome = await decide(engine, world, "ok")
    assert isinstance(outcome, Finished)
    assert "Fixed the sum." in outcome.content
    assert mended() == MENDED
    asked = [call for completion in world.completions for call in completion.calls]
    assert any("sed" in json.dumps([call.name, dict(call.args)]) for call in asked)  # type: ignore[arg-type]
    assert len(world.events_of(MessageDelta)) > 1
    assert {event.name for event in world.events_of(AgentEvent)} >= {"tool_call", "tool_call_update"}


async def test_a_rejected_agent_changes_nothing(engine: Engine, name: str) -> None:
    await decide(engine, task(), "rejected")
    assert mended() == BROKEN


async def test_an_agent_that_was_lost_while_it_waited_gets_the_decision(engine: Engine, name: str) -> None:
    world = task()
    async with asyncio.timeout(SECONDS):
        outcome = await engine.run_leg(world.leg())
        while isinstance(outcome, Waiting) and not any("sed" in str(call.args) for call in world.pending_calls()):
            for call in world.pending_calls():
                world.settle(call.call_id, "Decided.")
            outcome = await engine.run_leg(world.leg())
        assert outcome == Waiting()
        await PARKED.end(world.run_id)
    assert isinstance(await decide(engine, world, "ok"), Finished)
    asked = [(call.name, str(call.args)) for completion in world.completions for call in completion.calls]
    assert len(set(asked)) == len(asked)
    # opencode tells its model that the lost call failed, and this model takes that for the end of its task.
    assert name == "opencode" or mended() == MENDED


async def test_a_cancelled_agent_leaves_no_process(engine: Engine, name: str) -> None:
    before = {process.pid for process in descendants()}
    leg = ToldLeg(task())
    running = asyncio.create_task(engine.run_leg(leg))
    async with asyncio.timeout(SECONDS):
        await leg.told.wait()
        running.cancel()
        await asyncio.wait([running])
    assert {process.pid for process in descendants()} <= before


async def test_an_agent_that_is_killed_fails_its_run_and_goes_on_with_the_next(engine: Engine, name: str) -> None:
    world = task()
    before = {process.pid for process in descendants()}
    leg = ToldLeg(world)
    running = asyncio.create_task(engine.run_leg(leg))
    async with asyncio.timeout(SECONDS):
        await leg.told.wait()
        for process in descendants():
            if process.pid not in before and "supervisor" not in " ".join(process.cmdline()):
                process.kill()
        await asyncio.wait([running])
    assert isinstance(running.result(), Failed | Waiting)
    world.prompt("Fix sum.py")
    outcome = await decide(engine, world, "ok")
    assert isinstance(outcome, Finished)
    assert mended() == MENDED
