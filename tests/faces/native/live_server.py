"""The gateway behind its real server, and a real WebSocket client that records the order of the frames."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect

from gateway_project.asgi import application
from gateway_project.process.lifecycle import GATEWAY
from gateway_project.process.server import GatewayServer, bind_sockets, server_config
from tests.conftest import Caller
from tests.faces.socket_frames import SocketFrames
from tests.gateway_harness import WAIT


class SocketClient(SocketFrames):
    """One connection."""

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__(connection)
        self._events: deque[dict[str, Any]] = deque()
        self._replies: deque[dict[str, Any]] = deque()
        self._refs = 0

    async def send(self, action: str, **fields: Any) -> str:
        """Sends an action; returns its `requestRef`."""
        self._refs += 1
        ref = f"ref-{self._refs}"
        await self.connection.send(json.dumps({"action": action, "requestRef": ref, **fields}))
        return ref

    async def ask(self, action: str, **fields: Any) -> dict[str, Any]:
        """Sends an action and returns its reply, which has to be the next one."""
        ref = await self.send(action, **fields)
        reply = await self.reply()
        assert reply.pop("requestRef") == ref
        return reply

    async def prompt(self, text: str, **fields: Any) -> str:
        """Sends a prompt; returns its `requestId`."""
        reply = await self.ask("prompt", text=text, **fields)
        assert reply["ok"], reply
        return str(reply["requestId"])

    async def reply(self) -> dict[str, Any]:
        """Returns the next reply."""
        while not self._replies:
            await self.take()
        return self._replies.popleft()

    async def event(self, *types: str) -> dict[str, Any]:
        """Returns the next event, of one of these types when any are given."""
        while True:
            while not self._events:
                await self.take()
            event = self._events.popleft()
            if not types or event["event"] in types:
                return event

    async def run_end(self, request_id: str) -> dict[str, Any]:
        """Returns the terminal event of the run."""
        while True:
            event = await self.event("agent_end", "agent_abort")
            if event["data"]["requestId"] == request_id:
                return event

    async def disconnect(self) -> None:
        """Closes the connection from this side."""
        await self.connection.close()

    def sort(self, frame: dict[str, Any]) -> None:
        (self._events if "event" in frame else self._replies).append(frame)


class LiveServer:
    """The gateway on a port of its own."""

    def __init__(self) -> None:
        self._sockets = bind_sockets("127.0.0.1", [0])
        self.port = self._sockets[0].getsockname()[1]
        self._ready = asyncio.Event()
        config = server_config(application)
        # The harness starts and stops the gateway's parts.
        config.lifespan = "off"
        self.server = GatewayServer(config, gateway=GATEWAY, on_ready=self._ready.set)
        self._task = asyncio.create_task(self.server.serve(self._sockets))

    async def start(self) -> None:
        """Waits until the server answers."""
        async with asyncio.timeout(WAIT):
            await self._ready.wait()

    async def stop(self) -> None:
        """Stops the server; open connections are cut."""
        self.server.should_exit = self.server.force_exit = True
        async with asyncio.timeout(WAIT):
            await self._task

    @asynccontextmanager
    async def socket(
        self, session: str, caller: Caller | None = None, *, headers: Any = None, reads: int | None = None, **query: Any
    ) -> AsyncIterator[SocketClient]:
        """Connects to the session; `reads` bounds the frames that the client takes ahead."""
        address = f"ws://127.0.0.1:{self.port}/v1/sessions/{session}/ws?{urlencode(query)}"
        given = {**(caller.headers if caller is not None else {}), **(headers or {})}
        async with connect(
            address,
            additional_headers=given,
            compression=None,
            proxy=None,
            max_size=None,
            max_queue=reads if reads is not None else 1024,
            close_timeout=1,
        ) as connection:
            yield SocketClient(connection)
