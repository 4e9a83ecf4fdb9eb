"""A scripted agent runtime in a process of its own: `python -m tests.stack.agent_runtime PORT GATEWAY_URL KEY`.

It speaks the protocol of docs/agents.md, "Agent runtimes", and acts by the first word of the prompt. It calls the
gateway's `/tool/execute` in the middle of an answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from aiohttp import web

from tests.stack.process import ROOT, free_port

START_SECONDS = 60.0


class Runtime:
    """The answers of the runtime, which asks the gateway at `gateway_url` for tools."""

    def __init__(self, gateway_url: str, key: str) -> None:
        self.gateway_url = gateway_url
        self.key = key
        self.http: aiohttp.ClientSession

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("X-Internal-Auth") != self.key:
            return web.Response(status=401)
        body = await request.json()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        message = body["message"]
        if message["type"] == "tool_result":
            await response.prepare(request)
            await send_token(response, f"The IDE says {message.get('result', message.get('error'))}.", final=True)
            return response
        word, _, rest = message["content"].partition(" ")
        if word == "refuse":
            return web.Response(status=500, text="not for clients")
        await response.prepare(request)
        await getattr(self, f"_{word}")(request, response, body["session_id"], rest)
        return response

    async def _tools(self, request: web.Request, response: web.StreamResponse, session: str, rest: str) -> None:
        """Sends a token and asks for a tool, by turns: the next token waits for the tool's result."""
        for number in range(int(rest)):
            await send_token(response, f"{number} ")
            status, outcome = await self._execute(session, f"step-{number}", number)
            await send_token(response, f"[{status} {outcome.get('result')}] ")
        await send_token(response, "", final=True)

    async def _chunk(self, request: web.Request, response: web.StreamResponse, session: str, rest: str) -> None:
        await send_token(response, "Let me see. ")
        call = {"type": "tool_call", "call_id": "c-1", "tool_name": "read_file", "arguments": {"path": rest}}
        await send(response, call)

    async def _approve(self, request: web.Request, response: web.StreamResponse, session: str, rest: str) -> None:
        call = {"type": "tool_call", "call_id": "c-2", "tool_name": "write_file", "arguments": {"path": rest}}
        await send(response, {**call, "requires_approval": True})

    async def _report(self, request: web.Request, response: web.StreamResponse, session: str, rest: str) -> None:
        await send_token(response, "half")
        await send(response, {"type": "error", "content": "not for clients"})

    async def _hang(self, request: web.Request, response: web.StreamResponse, session: str, rest: str) -> None:
        await send_token(response, "half")
        await asyncio.Event().wait()

    async def _drop(self, request: web.Request, response: web.StreamResponse, session: str, rest: str) -> None:
        await send_token(response, "half")
        await send(response, {"type": "status", "text": "the token before has left"})
        assert request.transport is not None
        request.transport.abort()

    async def _late(self, request: web.Request, response: web.StreamResponse, session: str, rest: str) -> None:
        """Asks for a tool that the IDE does not run in time, and goes on."""
        status, outcome = await self._execute(session, "late", 0, timeout_seconds=0.2)
        await send_token(response, f"{status} {outcome['detail']}", final=True)

    async def _execute(self, session: str, call_id: str, number: int, **more: Any) -> tuple[int, Any]:
        body = {"type": "tool_call", "call_id": call_id, "tool_name": "read_file", "arguments": {"number": number}}
        address = f"{self.gateway_url}/tool/execute/{session}"
        async with self.http.post(address, json=body | more, headers={"X-Internal-Auth": self.key}) as response:
            return response.status, await response.json()


async def send(response: web.StreamResponse, chunk: dict[str, Any]) -> None:
    await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")


async def send_token(response: web.StreamResponse, token: str, *, final: bool = False) -> None:
    await send(response, {"type": "assistant_message", "token": token, "is_final": final})


async def _healthy(request: web.Request) -> web.Response:
    return web.Response()


async def serve(port: int, gateway_url: str, key: str) -> None:
    """Serves until the process ends."""
    runtime = Runtime(gateway_url, key)
    application = web.Application()
    application.router.add_post("/agent/message/stream", runtime.answer)
    application.router.add_get("/health", _healthy)
    async with aiohttp.ClientSession() as runtime.http:
        runner = web.AppRunner(application)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()


@asynccontextmanager
async def runtime_process(gateway_url: str, key: str, port: int | None = None) -> AsyncIterator[str]:
    """Runs the runtime in a process of its own; yields its URL."""
    port = port or free_port()
    command = (sys.executable, "-m", "tests.stack.agent_runtime", str(port), gateway_url, key)
    process = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL)
    try:
        await _wait_ready(f"http://127.0.0.1:{port}/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        await process.wait()


async def _wait_ready(address: str) -> None:
    async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as http:
        while True:
            try:
                async with http.get(address) as response:
                    if response.status == 200:
                        return
            except aiohttp.ClientConnectionError:
                await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2], sys.argv[3]))
