"""The `remote` engine passes the suite of engines and speaks to both generations of agent runtimes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from agents_app.directory.entries import AGENTS, configured_agents
from agents_app.engine import Engine, Failed, Finished, Waiting
from agents_app.events import AgentEvent, MessageDelta
from agents_app.registry import engine_get
from core_app.guarded_client import CLIENT
from events_app.types import Event
from tests.agents.agent_server import AgentServer, call, open_stream, send_all, token
from tests.agents.engine_contract import EngineContract
from tests.agents.recording_leg import RecordingLeg, World, session_of

MODEL = "remote:runtime"


async def converse(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Answers as a runtime that acts by the first word of the prompt."""
    if body["type"] == "tool_result":
        said = str(body["message"].get("result", body["message"].get("error")))
        return await send_all(request, token("The tool said: "), token(said), token("", final=True))
    word, _, rest = body["content"].partition(" ")
    if word == "use":
        return await send_all(request, call(rest))
    if word == "fail":
        return web.Response(status=500, text="SECRET")
    return await send_all(request, token("You said "), token(body["content"]), token(".", final=True))


@pytest_asyncio.fixture
async def runtime(settings: Any, tmp_path: Path) -> AsyncIterator[AgentServer]:
    server = await AgentServer(converse).start()
    config = tmp_path / "gateway.yaml"
    config.write_text(f"agents: [{{id: runtime, type: remote, endpoint: '{server.url}'}}]", encoding="utf-8")
    settings.GATEWAY_CONFIG = config
    AGENTS.forget()
    yield server
    await CLIENT.stop()
    await server.stop()


@pytest.fixture
def engine(runtime: AgentServer) -> Engine:
    return engine_get("remote")


def world_of(prompt: str, **session: Any) -> World:
    world = World(session_of(MODEL, **{"agent": "runtime", **session}))
    world.prompt(prompt)
    return world


class TestRemoteKeepsTheContract(EngineContract):
    reports_usage = False

    def situation(self, name: str) -> tuple[str, str]:
        return MODEL, {"answer": "hello there", "tool": "use echo", "later": "use later", "failing": "fail"}[name]


async def test_the_message_is_what_both_generations_of_runtimes_read(
    engine: Engine, runtime: AgentServer, settings: Any
) -> None:
    settings.GATEWAY_INTERNAL_API_KEY = ["for-default", "for-acme:acme", "for-all:*"]
    world = world_of("hello", tenant_slug="acme", session_id="s9")
    await engine.run_leg(world.leg())
    body = runtime.bodies[0]
    assert runtime.paths == ["/agent/message/stream"]
    assert {name: body[name] for name in ("session_id", "type", "content")} == {
        "session_id": "acme.s9",
        "type": "user_message",
        "content": "hello",
    }
    assert body["message"] == {
        "type": "user_message",
        "content": "hello",
        "role": "user",
        "message_id": world.history[0].message_id,
    }
    assert runtime.headers[0]["Accept"] == "text/event-stream"
    assert runtime.headers[0]["X-Internal-Auth"] == "for-acme"


@pytest.mark.parametrize(
    ("keys", "tenant", "sent"),
    [([], "default", None), (["k"], "default", "k"), (["k"], "acme", None), (["k", "all:*"], "acme", "all")],
)
async def test_a_runtime_is_sent_the_key_of_the_sessions_tenant(
    engine: Engine, runtime: AgentServer, settings: Any, keys: list[str], tenant: str, sent: str | None
) -> None:
    settings.GATEWAY_INTERNAL_API_KEY = keys
    await engine.run_leg(world_of("hello", tenant_slug=tenant).leg())
    assert runtime.headers[0].get("X-Internal-Auth") == sent
    assert runtime.bodies[0]["session_id"] == ("s1" if tenant == "default" else "acme.s1")


async def test_a_tool_call_is_the_clients_under_the_runtimes_id(engine: Engine, runtime: AgentServer) -> None:
    world = world_of("use later")
    assert await engine.run_leg(world.leg()) == Waiting()
    (request,) = world.completions[0].calls
    assert (request.name, request.args, request.for_client, request.approval_hint) == ("later", {"x": 1}, True, None)
    (pending,) = world.pending_calls()
    world.settle(pending.call_id, "no such file", "error")
    assert isinstance(await engine.run_leg(world.leg()), Finished)
    assert runtime.bodies[1]["message"] == {"type": "tool_result", "call_id": "c-7", "error": "no such file"}
    assert runtime.bodies[1]["type"] == "tool_result"


async def test_a_call_that_requires_approval_says_so(engine: Engine, runtime: AgentServer) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await send_all(request, token("First "), call("later", requires_approval=True), token("never read"))

    runtime.script = script
    world = world_of("go")
    assert await engine.run_leg(world.leg()) == Waiting()
    assert world.completions[0].text == "First "
    assert world.completions[0].calls[0].approval_hint


END_FORMS: list[tuple[dict[str, Any] | bytes, ...]] = [
    (token("a"), token("b", final=True), token("c")),
    (token("a"), token("b"), b"data: [DONE]\n\n", token("c")),
    (token("a"), token("b"), b"event: done\ndata: {}\n\n", token("c")),
    (token("a"), token("b"), b"event: done\n\n", token("c")),
    (token("a"), token("b")),
    (b": hello\r\n\r\n", token("ab")),
]


@pytest.mark.parametrize("chunks", END_FORMS)
async def test_an_answer_ends_in_each_of_the_ways_that_runtimes_have(
    engine: Engine, runtime: AgentServer, chunks: tuple[Any, ...]
) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await send_all(request, *chunks)

    runtime.script = script
    assert await engine.run_leg(world_of("go").leg()) == Finished("ab")


@pytest.mark.parametrize("answer", [token("ab", final=True), {"content": "ab"}, {"token": "ab"}])
async def test_one_json_object_is_an_answer_too(engine: Engine, runtime: AgentServer, answer: dict[str, Any]) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.json_response(answer)

    runtime.script = script
    assert await engine.run_leg(world_of("go").leg()) == Finished("ab")


async def test_chunks_of_an_unknown_type_are_passed_as_events(engine: Engine, runtime: AgentServer) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        switched = {"type": "agent_switched", "from_agent": "a", "to_agent": "b"}
        return await send_all(request, switched, token("ok", final=True))

    runtime.script = script
    world = world_of("go")
    await engine.run_leg(world.leg())
    assert world.events_of(AgentEvent) == [AgentEvent(name="agent_switched", data={"from_agent": "a", "to_agent": "b"})]


class ReadingLeg(RecordingLeg):
    """A leg that tells when its engine has read a text."""

    def __init__(self, world: World) -> None:
        super().__init__(world, None)
        self.read = asyncio.Event()

    async def emit(self, event: Event) -> None:
        await super().emit(event)
        if isinstance(event, MessageDelta):
            self.read.set()


async def break_off(request: web.Request, read: asyncio.Event) -> web.StreamResponse:
    response = await send_all(request, token("So far"))
    await read.wait()
    assert request.transport is not None
    request.transport.abort()
    return response


FAULTS: dict[str, tuple[tuple[Any, ...], str]] = {
    "error": ((token("So far"), {"type": "error", "content": "SECRET"}), "upstream_error"),
    "no object": ((token("So far"), b"data: [1]\n\n"), "upstream_error"),
    "no JSON": ((token("So far"), b"data: {SECRET\n\n"), "upstream_error"),
    "flood": ((token("So far"), *[token("x" * 900)] * 5), "upstream_error"),
    "long line": ((token("So far"), b"data: " + b"x" * 2500), "upstream_error"),
    "nameless tool": ((token("So far"), {"type": "tool_call", "tool_name": ""}), "upstream_error"),
}


@pytest.mark.parametrize("fault", [*FAULTS, "broken", "silence"])
async def test_a_runtime_that_fails_in_the_middle_fails_the_run_and_the_text_so_far_is_kept(
    engine: Engine, runtime: AgentServer, settings: Any, fault: str
) -> None:
    settings.GATEWAY_AGENT_OUTPUT_BYTES, settings.GATEWAY_AGENT_LINE_BYTES = 4000, 2000
    code = "timeout" if fault == "silence" else "upstream_error"

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if fault == "broken":
            return await break_off(request, leg.read)
        if fault == "silence":
            return await runtime.stall(request, b'data: {"type":"assistant_message","token":"So far"}\n\n')
        return await send_all(request, *FAULTS[fault][0])

    settings.GATEWAY_AGENT_STREAM_TIMEOUT = 0.05 if fault == "silence" else 60.0
    runtime.script = script
    world = world_of("go")
    leg = ReadingLeg(world)
    outcome = await engine.run_leg(leg)
    assert isinstance(outcome, Failed)
    assert (outcome.code, "SECRET" in outcome.reason) == (code, False)
    (kept,) = world.completions
    assert kept.text.startswith("So far")
    assert "".join(event.delta for event in world.events_of(MessageDelta)) == kept.text
    # The run's end was not committed: the next leg does not take what was kept for the answer.
    asked = len(runtime.bodies)
    assert await engine.run_leg(world.leg()) == outcome
    assert len(runtime.bodies) == asked


@pytest.mark.parametrize("status", [404, 401, 500, 503, 302])
async def test_a_refused_message_fails_the_run_without_a_text(
    engine: Engine, runtime: AgentServer, status: int
) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return web.Response(status=status, text="SECRET", headers={"Location": "/elsewhere"})

    runtime.script = script
    world = world_of("go")
    outcome = await engine.run_leg(world.leg())
    assert isinstance(outcome, Failed)
    assert str(status) in outcome.reason
    assert world.completions == []


async def test_a_runtime_that_never_begins_to_answer_is_a_time_out(
    engine: Engine, runtime: AgentServer, settings: Any
) -> None:
    settings.GATEWAY_REQUEST_TIMEOUT = 0.05

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await runtime.stall(request)

    runtime.script = script
    outcome = await engine.run_leg(world_of("go").leg())
    assert isinstance(outcome, Failed)
    assert outcome.code == "timeout"


async def test_an_aborted_leg_closes_the_runtimes_stream(engine: Engine, runtime: AgentServer) -> None:
    begun = asyncio.Event()

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        begun.set()
        return await runtime.stall(request, b": begun\n\n")

    runtime.script = script
    leg = asyncio.create_task(engine.run_leg(world_of("go").leg()))
    async with asyncio.timeout(60):
        await begun.wait()
        leg.cancel()
        await asyncio.wait([leg])
        await runtime.closed.wait()
    assert leg.cancelled()


async def test_one_address_serves_the_agent_remote_and_agents_without_an_endpoint(
    engine: Engine, runtime: AgentServer, settings: Any
) -> None:
    settings.GATEWAY_AGENT_URL = runtime.url + "/base/"
    assert configured_agents()["remote"].entry.type == "remote"
    outcome = await engine.run_leg(world_of("hi", agent="remote").leg())
    assert outcome == Finished("You said hi.")
    assert runtime.paths == ["/base/agent/message/stream"]


async def test_an_agent_without_an_address_says_what_to_set(engine: Engine, settings: Any, tmp_path: Path) -> None:
    settings.GATEWAY_CONFIG = tmp_path / "other.yaml"
    settings.GATEWAY_CONFIG.write_text("agents: [{id: runtime, type: remote}]", encoding="utf-8")
    outcome = await engine.run_leg(world_of("hi").leg())
    assert isinstance(outcome, Failed)
    assert (outcome.code, "GATEWAY_AGENT_URL" in outcome.reason) == ("unprocessable", True)


async def test_a_runtime_that_is_not_there_fails_the_run(engine: Engine, runtime: AgentServer) -> None:
    await runtime.stop()
    outcome = await engine.run_leg(world_of("hi").leg())
    assert isinstance(outcome, Failed)
    assert outcome.code == "upstream_error"


async def test_steering_that_was_taken_before_a_crash_is_sent_by_the_next_leg(
    engine: Engine, runtime: AgentServer
) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        if len(runtime.bodies) == 1:
            world.waiting_texts.append("and this")
        if len(runtime.bodies) == 2:
            response = await open_stream(request)
            raise_in_leg.cancel()
            return response
        return await converse(request, body)

    runtime.script = script
    world = world_of("hello")
    raise_in_leg = asyncio.create_task(engine.run_leg(world.leg()))
    async with asyncio.timeout(60):
        await asyncio.wait([raise_in_leg])
    assert raise_in_leg.cancelled()
    assert await engine.run_leg(world.leg()) == Finished("You said and this.")
