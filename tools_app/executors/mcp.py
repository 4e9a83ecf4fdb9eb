"""Tools of the operator's MCP servers (section `mcp` of the configuration file), presented as built-ins.

All connections live on one event loop in a thread of their own, so that a server or its library never blocks the
gateway's loop. A leg opens its session's servers first, all at once, and awaits that without a thread; sync code then
finds their tools without waiting. A server that cannot be reached has no tools. Only legs that use it wait for it, at
most CONNECT_SECONDS, and it is left alone for a pause that grows with its failures.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

from core_app import jsontext
from core_app.lifecycle import Part, process_wide
from tools_app import operator_rules
from tools_app.executors.base import Builtin
from tools_app.executors.mcp_connection import Connection, Refused, Unreachable, preload_library
from tools_app.result_body import as_text
from tools_app.types import CallContext, Outcome, unknown_outcome

R = TypeVar("R")

PREFIX = "mcp__"
CALL_SECONDS = 60.0

RETRY_SECONDS = 30.0
"""Pause before a server that failed once is tried again. It doubles with every further failure."""

MAX_RETRY_SECONDS = 600.0

LONG_WAIT_SECONDS = 1.0
"""A leg that has waited longer for an attempt has probably waited with others: those of a silent server gather for ten
seconds."""

SPACING_SECONDS = 0.1
"""The time between two legs that have waited for the same attempt and go on. Twenty that went on at once kept other
tenants' prompts waiting for a second."""

LONGEST_SPREAD_SECONDS = 3.0
"""How long a leg is kept back for this at most: beyond it they go on together."""

_NAME = re.compile(r"\A[A-Za-z0-9_-]{1,64}\Z")


@dataclass(slots=True)
class _Server:
    """A server as this process knows it. `tools` are those of its last connection, which may be broken by now."""

    connection: Connection | None = None
    opening: asyncio.Task[Connection] | None = None
    tools: tuple[Any, ...] = ()
    failures: int = 0
    closed_until: float = 0.0
    next_leaves_at: float = 0.0
    """When the next leg that has waited for an attempt may go on, by the clock of the loop."""

    @property
    def is_open(self) -> bool:
        return self.connection is not None and not self.connection.broken

    def leave_at(self, now: float) -> float:
        """Returns the time at which a leg that has waited until now goes on."""
        moment = max(now, self.next_leaves_at)
        if moment > now + LONGEST_SPREAD_SECONDS:
            return now + LONGEST_SPREAD_SECONDS
        self.next_leaves_at = moment + SPACING_SECONDS
        return moment

    def note_failure(self) -> None:
        """Starts the pause before the next attempt."""
        self.tools = ()
        pause = min(RETRY_SECONDS * 2**self.failures, MAX_RETRY_SECONDS)
        self.failures, self.closed_until = self.failures + 1, time.monotonic() + pause


async def pause(seconds: float) -> None:
    """Keeps a leg back that has waited with others."""
    await asyncio.sleep(seconds)


class McpServers(Part):
    """The connections of this process, opened at first use."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._servers: dict[str, _Server] = {}

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

    async def open(self, servers: Sequence[str]) -> None:
        """Connects to those of the servers that are not connected and may be tried, all at once. Returns when each is
        connected or has failed; callers that have waited long for the same attempt go on one after the other."""
        sections = operator_rules.rules().mcp
        closed = [server for server in servers if server in sections and self._may_open(server)]
        if closed:
            await asyncio.wrap_future(self._submit(self._open_all([(server, sections[server]) for server in closed])))

    def tools(self, server: str) -> list[Builtin]:
        """The server's tools, as they were when it was last connected. Waits for nothing: `open` connects."""
        section = operator_rules.rules().mcp.get(server)
        known = self._servers.get(server)
        if section is None or known is None:
            return []
        return [tool for tool in (_as_builtin(server, section, found) for found in known.tools) if tool is not None]

    async def call(self, server: str, tool: str, args: Mapping[str, Any], *, idempotent: bool) -> Outcome:
        """Calls a tool of the server, from any loop. The outcome is `unknown` if a tool that is not `idempotent` may
        have taken effect."""
        section = operator_rules.rules().mcp.get(server)
        if section is None:
            return Outcome("error", f"The MCP server {server} is not configured any more.")
        return await asyncio.wrap_future(self._submit(self._call(server, section, tool, args, idempotent)))

    async def _call(
        self, server: str, section: Mapping[str, Any], tool: str, args: Mapping[str, Any], idempotent: bool
    ) -> Outcome:
        seconds, sent = float(section.get("timeout_seconds", CALL_SECONDS)), False
        try:
            async with asyncio.timeout(seconds):
                connection = await self._connect(server, section)
                sent = True
                return _outcome(await connection.call(tool, args))
        except Refused:
            return Outcome("error", f"The MCP server {server} refused the call.")
        except TimeoutError:
            failed = Outcome("timeout", f"The MCP server {server} did not answer within {seconds:g} seconds.")
        except Unreachable:
            failed = Outcome("error", f"The MCP server {server} could not be reached, or broke off.")
        return unknown_outcome(failed.content) if sent and not idempotent else failed

    def _may_open(self, server: str) -> bool:
        known = self._servers.get(server)
        return known is None or not (known.is_open or known.closed_until > time.monotonic())

    async def _open_all(self, sections: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(self._connect(*entry) for entry in sections), return_exceptions=True)
        now = asyncio.get_running_loop().time()
        if now - began >= LONG_WAIT_SECONDS:
            await pause(max(self._servers[server].leave_at(now) for server, _ in sections) - now)

    async def _connect(self, server: str, section: Mapping[str, Any]) -> Connection:
        """Returns the server's connection. Everybody who needs it while it is being opened waits for the same attempt.
        Raises Unreachable."""
        known = self._servers.setdefault(server, _Server())
        if known.connection is not None and known.is_open:
            return known.connection
        if known.opening is None:
            if known.closed_until > time.monotonic():
                raise Unreachable(server)
            known.opening = asyncio.create_task(self._open(server, known, section), name=f"open-mcp:{server}")
            # Retrieved here, because everybody who waited may have been cancelled.
            known.opening.add_done_callback(lambda task: task.cancelled() or task.exception())
        return await asyncio.shield(known.opening)

    async def _open(self, server: str, known: _Server, section: Mapping[str, Any]) -> Connection:
        connection = Connection(server, section)
        try:
            await connection.open()
        except Unreachable:
            known.note_failure()
            raise
        finally:
            known.opening = None
        known.connection, known.tools = connection, tuple(connection.tools)
        known.failures, known.closed_until = 0, 0.0
        return connection

    async def _close_all(self) -> None:
        opening = [known.opening for known in self._servers.values() if known.opening is not None]
        for task in opening:
            task.cancel()
        await asyncio.gather(*opening, return_exceptions=True)
        for known in self._servers.values():
            if known.connection is not None:
                await known.connection.close()
        self._servers.clear()

    def _submit(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="gateway-mcp", daemon=True)
                self._thread.start()
            return asyncio.run_coroutine_threadsafe(work, self._loop)


SERVERS = process_wide(McpServers())


async def preload() -> None:
    """Loads the library of MCP servers in a thread, if any server is configured."""
    if operator_rules.rules().mcp:
        await asyncio.to_thread(preload_library)


async def open_servers(names: Sequence[str]) -> None:
    """Connects to the server of every `mcp:<server>` among `names`, so that `tools_of` and `find` know its tools."""
    if servers := _servers_among(names):
        await SERVERS.open(servers)


def tools_of(names: Sequence[str]) -> list[Builtin]:
    """The tools of every `mcp:<server>` among `names` that has been opened."""
    return [tool for server in _servers_among(names) for tool in SERVERS.tools(server)]


def _servers_among(names: Sequence[str]) -> list[str]:
    return [name.removeprefix("mcp:") for name in names if name.startswith("mcp:")]


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
    idempotent = bool(hints and (hints.read_only_hint or hints.idempotent_hint))

    async def run(args: Mapping[str, Any], context: CallContext) -> Outcome:
        return await SERVERS.call(server, tool.name, args, idempotent=idempotent)

    return Builtin(
        name=name,
        description=jsontext.clean_text(tool.description or "")[:8000],
        parameters={"type": "object", **tool.input_schema},
        run=run,
        requires_approval=rule == "always",
        hint=f"A tool of the MCP server {server}.",
        idempotent=idempotent,
    )


def _outcome(result: Any) -> Outcome:
    texts = [block.text if block.type == "text" else f"[{block.type}]" for block in result.content]
    if not texts and result.structured_content is not None:
        texts = [as_text(result.structured_content)]
    return Outcome("error" if result.is_error else "ok", jsontext.clean_text("\n".join(texts)) or "(no output)")
