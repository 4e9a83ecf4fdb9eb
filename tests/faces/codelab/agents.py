"""A runtime of a test, configured as the agent `runtime` beside the agent `echo`, which repeats the prompt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest_asyncio
from aiohttp import web

from agents_app.directory.entries import AGENTS
from tests.agents.agent_server import AgentServer, call, send_all, token
from tests.gateway_harness import GatewayHarness

WRITE = call("write_file", requires_approval=True)


async def act(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """Acts by the prompt; after a tool's result it repeats it."""
    if body["type"] == "tool_result":
        outcome = body["message"].get("result", body["message"].get("error"))
        return await send_all(request, token(f"tool: {outcome}"), token("", final=True))
    match body["content"]:
        case "read":
            return await send_all(request, token("one moment "), call("read_file"))
        case "write":
            return await send_all(request, WRITE)
        case "switch":
            switched = {"type": "agent_switched", "from_agent": "orchestrator", "to_agent": "coder", "reason": "code"}
            return await send_all(request, switched, token("hi", final=True))
        case "fail":
            return web.Response(status=500, text="a stranger's secret")
        case "report":
            return await send_all(request, token("half"), {"type": "error", "content": "a stranger's secret"})
        case "drop":
            response = await send_all(request, token("half"))
            assert request.transport is not None
            request.transport.abort()
            return response
        case content:
            return await send_all(request, token("You said "), token(content), token(".", final=True))


@pytest_asyncio.fixture
async def runtime_server(settings: Any, tmp_path: Path, gateway: GatewayHarness) -> AsyncIterator[AgentServer]:
    """The running server."""
    server = await AgentServer(act).start()
    agents = (
        f"agents: [{{id: runtime, type: remote, endpoint: '{server.url}', name: Runtime, description: Elsewhere}},"
        " {id: echo, type: model, model: 'demo:echo', tools: [ask_user]}]"
    )
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG.write_text(agents, encoding="utf-8")
    AGENTS.forget()
    yield server
    await gateway.wait_idle()
    await server.stop()
    AGENTS.forget()


def hang(server: AgentServer) -> None:
    """Makes the runtime send a word and then nothing."""

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        return await server.stall(request, b'data: {"type": "assistant_message", "token": "half"}\n\n')

    server.script = script


def step(server: AgentServer) -> asyncio.Queue[str]:
    """Makes the runtime send a token whenever the test puts one into the queue; an empty one ends the answer."""
    tokens: asyncio.Queue[str] = asyncio.Queue()

    async def script(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        while text := await tokens.get():
            await response.write(b'data: {"type": "assistant_message", "token": "%s"}\n\n' % text.encode())
        return response

    server.script = script
    return tokens
