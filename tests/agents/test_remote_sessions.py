"""Sessions whose agent is a runtime behind HTTP, from the prompt to the answer, through the native face."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from agents_app.directory.entries import AGENTS
from tests.agents.agent_server import AgentServer
from tests.agents.test_remote_engine import converse
from tests.gateway_harness import Client, GatewayHarness, api, gateway

__all__ = ["api", "gateway"]

pytestmark = pytest.mark.django_db(transaction=True)


@pytest_asyncio.fixture
async def runtime(settings: Any, tmp_path: Path, gateway: GatewayHarness) -> AsyncIterator[AgentServer]:
    server = await AgentServer(converse).start()
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG.write_text(
        f"agents: [{{id: runtime, type: remote, endpoint: '{server.url}'}}]", encoding="utf-8"
    )
    AGENTS.forget()
    yield server
    await gateway.wait_idle()
    await server.stop()


async def test_a_prompt_is_answered_by_the_runtime(api: Client, runtime: AgentServer) -> None:
    session = await api.session(model=None, agent="runtime")
    run = await api.run(session, "hello")
    assert run["status"] == "completed"
    ended = (await api.log(session))[-1]
    assert (ended.event, ended.data["lastMessage"]["content"]) == ("agent_end", "You said hello.")
    assert runtime.bodies[0]["session_id"] == f"acme.{session}"


async def test_a_tool_of_the_client_opens_the_next_leg(api: Client, runtime: AgentServer) -> None:
    session = await api.session(model=None, agent="runtime")
    async with api.events(session, since=0) as reader:
        await api.prompt(session, "use read_file")
        asked = await reader.next_of("tool_call_requested")
        body = {"callId": asked.data["callId"], "result": "42"}
        assert (await api.post(f"/v1/sessions/{session}/tool-results", body)).status == 200
        ended = await reader.next_of("agent_end")
    assert ended.data["lastMessage"]["content"] == "The tool said: 42"
    assert runtime.bodies[1]["message"]["call_id"] == "c-7"


async def test_a_runtime_that_is_down_ends_the_run_with_an_error(api: Client, runtime: AgentServer) -> None:
    session = await api.session(model=None, agent="runtime")
    run = await api.run(session, "fail")
    assert run["status"] == "failed"
    types = [frame.event for frame in await api.log(session)]
    assert types[-2:] == ["error", "agent_abort"]


async def test_an_agent_of_text_refuses_attachments(api: Client, runtime: AgentServer) -> None:
    session = await api.session(model=None, agent="runtime")
    image = {"type": "image", "mediaType": "image/png", "data": "aGk="}
    answer = await api.post(f"/v1/sessions/{session}/prompt", {"text": "look", "attachments": [image]})
    assert (answer.status, answer.field) == (422, "attachments")
