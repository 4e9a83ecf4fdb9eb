"""An agent behind HTTP on a free port: it answers by the words of the message, and keeps what it was sent.

`AgentServer.script` overrides the answer: a coroutine that gets the request and writes the response.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

Script = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


class AgentServer:
    """The running server. `closed` is set when a client breaks off a stream that never ends."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.closed = asyncio.Event()
        self._server: TestServer | None = None

    async def start(self) -> AgentServer:
        application = web.Application()
        application.router.add_post("/{path:.*}", self._answer)
        self._server = TestServer(application)
        await self._server.start_server()
        return self

    async def stop(self) -> None:
        assert self._server is not None
        await self._server.close()

    @property
    def url(self) -> str:
        assert self._server is not None
        return str(self._server.make_url("")).rstrip("/")

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        self.headers.append(dict(request.headers))
        self.paths.append(request.path)
        return await self.script(request, body)

    async def stall(self, request: web.Request, *first: bytes) -> web.StreamResponse:
        """Sends the pieces, and then nothing until the client breaks off."""
        response = await open_stream(request)
        for piece in first:
            await response.write(piece)
        try:
            while True:
                await asyncio.sleep(0.01)
                await response.write(b"")
                if request.transport is None or request.transport.is_closing():
                    return response
        finally:
            self.closed.set()


async def open_stream(request: web.Request) -> web.StreamResponse:
    """Begins a response of server-sent events."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    return response


async def send_all(request: web.Request, *chunks: dict[str, Any] | bytes) -> web.StreamResponse:
    """Answers with events, of JSON objects or of raw bytes."""
    response = await open_stream(request)
    for chunk in chunks:
        await response.write(chunk if isinstance(chunk, bytes) else b"data: " + json.dumps(chunk).encode() + b"\n\n")
    return response


def token(text: str, *, final: bool = False) -> dict[str, Any]:
    """Returns a runtime's piece of an answer."""
    return {"type": "assistant_message", "token": text, "is_final": final}


def call(name: str, **more: Any) -> dict[str, Any]:
    """Returns a runtime's call of a tool."""
    return {"type": "tool_call", "call_id": "c-7", "tool_name": name, "arguments": {"x": 1}, **more}
