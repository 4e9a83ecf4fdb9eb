"""Stands behind nginx in tests: answers with what reached it, streams as it is told, takes sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web


@dataclass
class Stub:
    """A server at `port`; a stream sends one frame, and the next only when `go_on` is set."""

    port: int
    name: str = "stub"
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    async def echo(self, request: web.Request) -> web.StreamResponse:
        seen = {"name": self.name, "headers": {key.lower(): value for key, value in request.headers.items()}}
        return web.json_response(seen | {"path": request.raw_path})

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"id: 1\ndata: {}\n\n")
        await self.go_on.wait()
        await response.write(b"id: 2\ndata: {}\n\n")
        return response

    async def socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(json.dumps({"echo": message.data, "query": request.query_string}))
        return socket

    async def refuse(self, request: web.Request) -> web.StreamResponse:
        """Answers when the head is there, whatever of the body is not."""
        return web.json_response({"error": "unauthorized"}, status=401)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Stub]:
        application = web.Application(client_max_size=2**30)
        application.router.add_get("/stream", self.stream)
        application.router.add_get("/ws", self.socket)
        application.router.add_post("/refused", self.refuse)
        application.router.add_route("*", "/{path:.*}", self.echo)
        runner = web.AppRunner(application, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            yield self
        finally:
            self.go_on.set()
            await runner.cleanup()
