"""An editor: a client of the protocol, by the library's own connection, over a WebSocket or over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from acp import schema
from acp.client.connection import ClientSideConnection
from acp.http.client import create_http_stream
from acp.ws.client import create_websocket_stream

from tests.gateway_harness import WAIT


class Editor:
    """The editor's view, and its decision: an option's id, None to cancel."""

    def __init__(self) -> None:
        self.updates: list[tuple[str, Any]] = []
        self.asked: list[schema.ToolCallUpdate] = []
        self.decision: str | None = "allow"
        self.first_text = asyncio.Event()

    async def session_update(self, session_id: str, update: Any, **kwargs: Any) -> None:
        self.updates.append((str(kwargs.get("offset")), update))
        if isinstance(update, schema.AgentMessageChunk):
            self.first_text.set()

    async def request_permission(
        self, session_id: str, tool_call: schema.ToolCallUpdate, options: Any, **kwargs: Any
    ) -> schema.RequestPermissionResponse:
        self.asked.append(tool_call)
        if self.decision is None:
            return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome="cancelled"))
        outcome = schema.AllowedOutcome(outcome="selected", option_id=self.decision)
        return schema.RequestPermissionResponse(outcome=outcome)

    def text(self, kind: type[Any] = schema.AgentMessageChunk) -> str:
        return "".join(update.content.text for _, update in self.updates if isinstance(update, kind))


@asynccontextmanager
async def connected(port: int, secret: str, *, over: str = "ws") -> AsyncIterator[tuple[Editor, ClientSideConnection]]:
    """Connects an editor and introduces it."""
    editor = Editor()
    headers = {"X-API-Key": secret}
    async with AsyncExitStack() as stack:
        if over == "ws":
            transport: Any = await create_websocket_stream(f"ws://127.0.0.1:{port}/acp", headers=headers)
        else:
            client = await stack.enter_async_context(httpx.AsyncClient(headers=headers, timeout=WAIT, trust_env=False))
            transport = create_http_stream(f"http://127.0.0.1:{port}/acp", client=client)
        connection = ClientSideConnection(editor, transport)  # type: ignore[arg-type]  # it has what is called
        try:
            async with asyncio.timeout(WAIT * 4):
                await connection.initialize(protocol_version=1)
                yield editor, connection
        finally:
            await connection.close()


def text(words: str) -> list[Any]:
    return [schema.TextContentBlock(type="text", text=words)]
