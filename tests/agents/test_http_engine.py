"""The `http` engine passes the suite of engines, and reads the answers that agents over HTTP give."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web

from agents_app.directory.entries import AGENTS
from agents_app.engine import Engine, Failed, Finished
from agents_app.events import AgentEvent
from agents_app.http_agent import SPACE
from agents_app.registry import engine_get
from core_app.guarded_client import CLIENT
from tests.agents.agent_server import AgentServer, send_all
from tests.agents.engine_contract import EngineContract
from tests.agents.recording_leg import World, session_of


async def converse(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    task = body["payload"]["task"]
    if task == "fail":
        return web.Response(status=500, text="SECRET")
    return await send_all(
        request,
        {"type": "stream", "result": "You said "},
        {"type": "stream", "result": task},
        {"type": "stream_end", "result": f"You said {task}"},
    )


@pytest_asyncio.fixture
async def agent(settings: Any, tmp_path: Path) -> AsyncIterator[AgentServer]:
    server = await AgentServer(converse).start()
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG.write_text(
        f"agents: [{{id: helper, type: http, endpoint: '{server.url}/run'}}]", encoding="utf-8"
    )
    AGENTS.forget()
    yield server
    await CLIENT.stop()
    await server.stop()


@pytest.fixture
def engine(agent: AgentServer) -> Engine:
    return engine_get("http")


def world_of(prompt: str) -> World:
    world = World(session_of("http:helper", agent="helper"))
    world.prompt(prompt)
    return world


class TestHttpKeepsTheContract(EngineContract):
    reports_usage = False

    def situation(self, name: str) -> tuple[str, str]:
        return "http:helper", {"answer": "hello there", "failing": "fail"}[name]


async def test_an_agent_is_sent_an_agent_message_with_the_conversation(engine: Engine, agent: AgentServer) -> None:
    world = world_of("one")
    await engine.run_leg(world.leg())
    world.prompt("two")
    await engine.run_leg(world.leg())
    body = agent.bodies[1]
    assert agent.paths == ["/run"] * 2
    assert {name: body[name] for name in ("type", "source", "target", "correlation_id")} == {
        "type": "request",
        "source": "gateway",
        "target": "helper",
        "correlation_id": world.run_id,
    }
    assert body["payload"]["task"] == "two"
    assert body["payload"]["context"]["history"] == [
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "You said one"},
    ]


async def test_an_agent_is_sent_the_space_of_its_task(engine: Engine, agent: AgentServer) -> None:
    world = world_of("one")
    for metadata in ({SPACE: "space-1"}, {SPACE: 1}, {}):
        leg = world.leg()
        leg.run = replace(leg.run, metadata=metadata)
        await engine.run_leg(leg)
        world.prompt("again")
    contexts = [body["payload"]["context"] for body in agent.bodies]
    assert [context.get(SPACE, "none") for context in contexts] == ["space-1", "none", "none"]


ANSWERS: list[tuple[Any, str]] = [
    ({"result": "done"}, "done"),
    ({"result": {"n": 1}}, '{"n":1}'),
    ({"id": "1", "type": "response", "source": "x", "result": "done"}, "done"),
    ([{"delta": "do"}, {"delta": "ne"}], "done"),
    ([{"delta": "do"}, {"result": "done"}], "done"),
    ([{"type": "stream", "result": "do"}, {"type": "stream_end"}, {"delta": "never"}], "do"),
    ([{"type": "stream", "result": "draft"}, {"type": "stream_end", "result": "final"}], "draft\n\nfinal"),
]


@pytest.mark.parametrize(("answer", "content"), ANSWERS)
async def test_an_answer_may_be_json_or_events(engine: Engine, agent: AgentServer, answer: Any, content: str) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await send_all(request, *answer) if isinstance(answer, list) else web.json_response(answer)

    agent.script = script
    assert await engine.run_leg(world_of("go").leg()) == Finished(content)


@pytest.mark.parametrize("answer", [{"error": "SECRET"}, {"type": "response", "error": {"code": "SECRET"}}, [], {}])
async def test_an_agents_failure_fails_the_run(engine: Engine, agent: AgentServer, answer: Any) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await send_all(request, *answer) if isinstance(answer, list) else web.json_response(answer)

    agent.script = script
    outcome = await engine.run_leg(world_of("go").leg())
    assert isinstance(outcome, Failed)
    assert (outcome.code, "SECRET" in outcome.reason) == ("upstream_error", False)


async def test_an_event_of_the_agent_is_passed_on(engine: Engine, agent: AgentServer) -> None:
    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await send_all(
            request, {"type": "event", "event_type": "step", "event_data": {"n": 1}}, {"result": "ok"}
        )

    agent.script = script
    world = world_of("go")
    await engine.run_leg(world.leg())
    assert world.events_of(AgentEvent) == [AgentEvent(name="step", data={"n": 1})]
