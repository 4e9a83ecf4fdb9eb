"""Programs as agents: they pass the suite of engines, and a hostile one harms its own run alone."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil
import pytest

from agents_app.directory.entries import AGENTS
from agents_app.engine import Engine, Failed, Finished, LegOutcome
from agents_app.events import AgentEvent, MessageDelta
from agents_app.registry import engine_get
from events_app.types import Event
from tests.agents.agent_program import SESSION
from tests.agents.engine_contract import EngineContract
from tests.agents.recording_leg import RecordingLeg, World, session_of

PROGRAM = Path(__file__).with_name("agent_program.py")


@pytest.fixture
def configure(settings: Any, tmp_path: Path) -> Callable[..., None]:
    """Sets the fields of the agents `text`, `claude` and `claw`, and a data directory of the test's own."""
    settings.GATEWAY_DATA_DIR = tmp_path / "data"
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"

    def write(**fields: Any) -> None:
        base = {"command": sys.executable, "args": [str(PROGRAM)], **fields}
        agents = [{"id": "text", "type": "process", **base}, {"id": "claude", "type": "claude-code", **base}]
        agents.append({"id": "claw", "type": "openclaw", **base})
        settings.GATEWAY_CONFIG.write_text(json.dumps({"agents": agents}), encoding="utf-8")
        AGENTS.forget()

    write()
    return write


@pytest.fixture
def text(configure: Callable[..., None]) -> Engine:
    return engine_get("process")


@pytest.fixture
def claw(configure: Callable[..., None]) -> Engine:
    return engine_get("openclaw")


@pytest.fixture
def claude(configure: Callable[..., None]) -> Engine:
    return engine_get("claude-code")


def world_of(prompt: str, agent: str = "text", **session: Any) -> World:
    kind = {"text": "process", "claude": "claude-code", "claw": "openclaw"}[agent]
    world = World(session_of(f"{kind}:{agent}", agent=agent, **session))
    world.prompt(prompt)
    return world


async def failure_of(engine: Engine, world: World) -> Failed:
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Failed)
    assert "SECRET" not in outcome.reason
    return outcome


class TestProcessKeepsTheContract(EngineContract):
    reports_usage = False

    @pytest.fixture
    def engine(self, text: Engine) -> Engine:
        return text

    def situation(self, name: str) -> tuple[str, str]:
        return "process:text", {"answer": "hello there", "failing": "fail"}[name]


class TestClaudeCodeKeepsTheContract(EngineContract):
    @pytest.fixture
    def engine(self, claude: Engine) -> Engine:
        return claude

    def situation(self, name: str) -> tuple[str, str]:
        return "claude-code:claude", {"answer": "hello there", "failing": "fail"}[name]


class TestOpenClawKeepsTheContract(EngineContract):
    @pytest.fixture
    def engine(self, claw: Engine) -> Engine:
        return claw

    def situation(self, name: str) -> tuple[str, str]:
        return "openclaw:claw", {"answer": "hello there", "failing": "fail"}[name]


def family(tmp_path: Path) -> list[int]:
    (file,) = tmp_path.glob("data/agents/*/pids")
    return [int(line) for line in file.read_text(encoding="utf-8").split()]


def files(tmp_path: Path) -> list[str]:
    """The names in the only session's directory."""
    return [path.name for path in tmp_path.glob("data/agents/*/*")]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE]


class ReadyLeg(RecordingLeg):
    """A leg that tells when its program has said something."""

    def __init__(self, world: World) -> None:
        super().__init__(world, None)
        self.ready = asyncio.Event()

    async def emit(self, event: Event) -> None:
        await super().emit(event)
        if isinstance(event, MessageDelta):
            self.ready.set()


async def test_an_abort_kills_the_program_with_its_children_and_with_orphans_in_other_sessions(
    text: Engine, tmp_path: Path
) -> None:
    leg = ReadyLeg(world_of("never end"))
    running = asyncio.create_task(text.run_leg(leg))
    async with asyncio.timeout(60):
        await leg.ready.wait()
        pids = family(tmp_path)
        assert len(alive(pids)) == 3
        running.cancel()
        await asyncio.wait([running])
    assert running.cancelled()
    assert alive(pids) == []


async def test_a_program_whose_supervisor_is_killed_ends_with_it(text: Engine, tmp_path: Path) -> None:
    leg = ReadyLeg(world_of("never end"))
    running = asyncio.create_task(text.run_leg(leg))
    async with asyncio.timeout(60):
        await leg.ready.wait()
        program, *children = family(tmp_path)
        watched = psutil.Process(program)
        supervisor = watched.parent()
        assert supervisor is not None
        supervisor.kill()
        await asyncio.to_thread(psutil.wait_procs, [watched], timeout=60)
        assert not watched.is_running() or watched.status() == psutil.STATUS_ZOMBIE
        for child in children:
            psutil.Process(child).kill()
        await asyncio.wait([running])
    assert isinstance(running.result(), Failed)


async def test_a_program_that_ends_leaves_nothing_behind(text: Engine, tmp_path: Path) -> None:
    assert await text.run_leg(world_of("family").leg()) == Finished("ready\n")
    assert alive(family(tmp_path)) == []


async def test_a_program_that_never_ends_is_killed_when_its_time_is_over(
    text: Engine, configure: Callable[..., None], tmp_path: Path
) -> None:
    configure(timeout=3)
    world = world_of("never end")
    outcome = await failure_of(text, world)
    assert outcome.code == "timeout"
    assert alive(family(tmp_path)) == []


@pytest.mark.parametrize(
    ("prompt", "setting"), [("flood", "GATEWAY_AGENT_OUTPUT_BYTES"), ("line", "GATEWAY_AGENT_LINE_BYTES")]
)
async def test_a_program_that_writes_too_much_fails_its_run(
    text: Engine, prompt: str, setting: str, settings: Any
) -> None:
    settings.GATEWAY_AGENT_OUTPUT_BYTES = 3_000_000
    world = world_of(prompt)
    outcome = await failure_of(text, world)
    assert setting in outcome.reason
    assert sum(len(completion.text) for completion in world.completions) < 3_200_000


async def test_a_program_gets_no_more_memory_than_its_limit(text: Engine, configure: Callable[..., None]) -> None:
    configure(memory_bytes=1_000_000_000)
    assert (await failure_of(text, world_of("memory"))).code == "upstream_error"
    configure(memory_bytes=0)
    assert await text.run_leg(world_of("memory").leg()) == Finished("")


async def test_a_program_has_a_clean_environment_and_a_directory_per_session(
    text: Engine, configure: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GATEWAY_SECRET_KEY", "SECRET")
    monkeypatch.setenv("MY_KEY", "passed")
    configure(env={"MODE": "fast"}, pass_env=["MY_KEY"])

    async def told(prompt: str, **session: Any) -> dict[str, Any]:
        outcome = await text.run_leg(world_of(prompt, **session).leg())
        assert isinstance(outcome, Finished)
        found: dict[str, Any] = json.loads(outcome.content)
        return found

    first, again, other, foreign = [
        await told("where $(touch /tmp/x); --help", **session)
        for session in ({}, {}, {"session_id": "s2"}, {"tenant_id": 2})
    ]
    assert first["argv"] == []
    assert set(first["env"]) <= {"HOME", "PATH", "LANG", "TZ", "MODE", "MY_KEY", "LC_CTYPE"}
    assert (first["env"]["MODE"], first["env"]["MY_KEY"], first["env"]["HOME"]) == ("fast", "passed", first["cwd"])
    assert first["cwd"] == again["cwd"]
    assert len({first["cwd"], other["cwd"], foreign["cwd"]}) == 3
    assert Path(first["cwd"]).parent == tmp_path / "data" / "agents"
    assert os.stat(first["cwd"]).st_mode & 0o777 == 0o700


@pytest.mark.parametrize("command", ["/no/such/program", "", str(PROGRAM.with_name("__init__.py"))])
async def test_a_program_that_cannot_be_started_says_so(
    text: Engine, configure: Callable[..., None], command: str
) -> None:
    configure(command=command)
    await failure_of(text, world_of("hello"))


async def test_a_program_that_does_not_read_its_message_may_answer(
    text: Engine, configure: Callable[..., None]
) -> None:
    configure(args=[str(PROGRAM), "deaf"])
    assert await text.run_leg(world_of("x" * 1_000_000).leg()) == Finished("not listening\n")


async def run_twice(engine: Engine, world: World) -> tuple[LegOutcome, LegOutcome]:
    first = await engine.run_leg(world.leg())
    world.prompt("more")
    return first, await engine.run_leg(world.leg())


async def test_claude_codes_conversation_is_resumed_by_the_id_that_it_told(claude: Engine) -> None:
    world = world_of("hello", "claude")
    assert await run_twice(claude, world) == (Finished("You said hello."), Finished("You said more again."))
    assert SESSION in world.history[1].payload.decode()  # type: ignore[union-attr]


async def test_claude_code_tells_its_tools_its_tokens_and_its_cost(claude: Engine) -> None:
    world = world_of("hello", "claude")
    await claude.run_leg(world.leg())
    (told,) = world.events_of(AgentEvent)
    assert (told.name, told.data["name"]) == ("tool_use", "Bash")
    (usage,) = world.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (7, 7, 2)
    assert usage.cost_usd == Decimal("0.25")


@pytest.mark.parametrize("prompt", ["broken", "none", "fail"])
async def test_claude_code_that_breaks_its_format_fails_the_run(claude: Engine, prompt: str) -> None:
    assert (await failure_of(claude, world_of(prompt, "claude"))).code == "upstream_error"


async def test_a_model_that_looks_like_an_option_is_not_passed_on(
    claude: Engine, configure: Callable[..., None]
) -> None:
    configure(model="--dangerously-skip-permissions")
    assert (await failure_of(claude, world_of("hello", "claude"))).code == "unprocessable"


async def test_openclaw_keeps_the_conversation_and_tells_its_tokens(claw: Engine) -> None:
    world = world_of("hello", "claw")
    assert await run_twice(claw, world) == (Finished("You said\n\nhello."), Finished("You said\n\nmore again."))
    (usage,) = world.usage
    assert (usage.input_tokens, usage.output_tokens, usage.cached_tokens) == (7, 7, 2)
    assert usage.cost_usd is None


@pytest.mark.parametrize(("args", "before"), [([], ["agent", "--local"]), (["agent", "--agent", "ops"], [])])
async def test_openclaw_has_nothing_of_a_message_on_its_command_line(
    claw: Engine, configure: Callable[..., None], tmp_path: Path, args: list[str], before: list[str]
) -> None:
    configure(args=[str(PROGRAM), *args], model="provider/model")
    outcome = await claw.run_leg(world_of("where", "claw").leg())
    assert isinstance(outcome, Finished)
    told = json.loads(outcome.content)
    options = [*args, *before, "--session-id", told["argv"][-6], "--message-file", told["argv"][-4]]
    assert told["argv"] == [*options, "--model", "provider/model", "--json"]
    assert told["mode"] == 0o600
    assert files(tmp_path) == [told["argv"][-6]]


@pytest.mark.parametrize("prompt", ["broken", "none", "fail"])
async def test_openclaw_that_breaks_its_format_fails_the_run(claw: Engine, prompt: str) -> None:
    assert (await failure_of(claw, world_of(prompt, "claw"))).code == "upstream_error"
