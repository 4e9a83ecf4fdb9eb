"""Tools of the operator's MCP servers (section `mcp` of the configuration file), presented as built-ins.

All connections live on one event loop in a thread of their own, so that a server or its library never blocks the
gateway's loop and sync code can ask for a server's tools. A server that cannot be reached has no tools; the next
attempt follows after RETRY_SECONDS.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from core_app import jsontext
from core_app.lifecycle import Part, process_wide
from tools_app import operator_rules
from tools_app.executors.base import Builtin
from tools_app.executors.mcp_connection import CONNECT_SECONDS, Connection, Refused, Unreachable
from tools_app.result_body import as_text
from tools_app.types import CallContext, Outcome

R = TypeVar("R")

PREFIX = "mcp__"
RETRY_SECONDS = 30.0
CALL_SECONDS = 60.0

_NAME = re.compile(r"\A[A-Za-z0-9_-]{1,64}\Z")


class McpServers(Part):
    """The connections of this process, opened at first use."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connections: dict[str, Connection] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._failed: dict[str, float] = {}

    async def stop(self) -> None:
        """Closes every connection and ends the thread."""
        await asyncio.to_thread(self.close_all)

    def close_all(self) -> None:
        """Closes every connection and ends the thread; for sync code."""
        with self._guard:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        asyncio.run_coroutine_threadsafe(self._close_all(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()

    def tools(self, server: str) -> list[Builtin]:
        """The server's tools; none when it cannot be reached. Blocks until connected, so never call it on a loop."""
        section = operator_rules.rules().mcp.get(server)
        if section is None or self._failed.get(server, 0.0) > time.monotonic():
            return []
        try:
            connection = self._submit(self._connect(server, section)).result(CONNECT_SECONDS + 5)
        except (Unreachable, TimeoutError):
            return []
        return [
            tool for tool in (_as_builtin(server, section, found) for found in connection.tools) if tool is not None
        ]

    async def call(self, server: str, tool: str, args: Mapping[str, Any]) -> Outcome:
        """Calls a tool of the server, from any loop."""
        section = operator_rules.rules().mcp.get(server)
        if section is None:
            return Outcome("error", f"The MCP server {server} is not configured any more.")
        seconds = float(section.get("timeout_seconds", CALL_SECONDS))
        try:
            return await asyncio.wrap_future(self._submit(self._call(server, section, tool, args, seconds)))
        except TimeoutError:
            return Outcome("timeout", f"The MCP server {server} did not answer within {seconds:g} seconds.")
        except Unreachable:
            return Outcome("error", f"The MCP server {server} could not be reached, or broke off.")

    async def _call(
        self, server: str, section: Mapping[str, Any], tool: str, args: Mapping[str, Any], seconds: float
    ) -> Outcome:
        async with asyncio.timeout(seconds):
            connection = await self._connect(server, section)
            try:
                return _outcome(await connection.call(tool, args))
            except Refused:
                return Outcome("error", f"The MCP server {server} refused the call.")

    async def _connect(self, server: str, section: Mapping[str, Any]) -> Connection:
        async with self._opening.setdefault(server, asyncio.Lock()):
            connection = self._connections.get(server)
            if connection is not None and not connection.broken:
                return connection
            connection = Connection(server, section)
            try:
                await connection.open()
            except Unreachable:
                self._failed[server] = time.monotonic() + RETRY_SECONDS
                raise
            self._connections[server] = connection
            return connection

    async def _close_all(self) -> None:
        for connection in self._connections.values():
            await connection.close()
        self._connections.clear()
        self._opening.clear()
        self._failed.clear()

    def _submit(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="gateway-mcp", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)


SERVERS = process_wide(McpServers())


def tools_of(names: Sequence[str]) -> list[Builtin]:
    """The tools of every `mcp:<server>` among `names`."""
    servers = [name.removeprefix("mcp:") for name in names if name.startswith("mcp:")]
    return [tool for server in servers for tool in SERVERS.tools(server)]


def find(name: str, names: Sequence[str] | None) -> Builtin | None:
    """The tool called `mcp__<server>__<tool>`, if `names` has its server; `names` None allows every server."""
    server = name.removeprefix(PREFIX).partition("__")[0]
    if not name.startswith(PREFIX) or (names is not None and f"mcp:{server}" not in names):
        return None
    return next((tool for tool in SERVERS.tools(server) if tool.name == name), None)


def _as_builtin(server: str, section: Mapping[str, Any], tool: Any) -> Builtin | None:
    name = f"{PREFIX}{server}__{tool.name}"
    if not _NAME.match(name):
        return None
    hints = tool.annotations
    rule = section.get("approval")

    async def run(args: Mapping[str, Any], context: CallContext) -> Outcome:
        return await SERVERS.call(server, tool.name, args)

    return Builtin(
        name=name,
        description=jsontext.clean_text(tool.description or "")[:8000],
        parameters={"type": "object", **tool.input_schema},
        run=run,
        requires_approval=rule == "always",
        hint=f"A tool of the MCP server {server}.",
        idempotent=bool(hints and (hints.read_only_hint or hints.idempotent_hint)),
    )


def _outcome(result: Any) -> Outcome:
    texts = [block.text if block.type == "text" else f"[{block.type}]" for block in result.content]
    if not texts and result.structured_content is not None:
        texts = [as_text(result.structured_content)]
    return Outcome("error" if result.is_error else "ok", jsontext.clean_text("\n".join(texts)) or "(no output)")
