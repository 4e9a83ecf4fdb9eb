"""The connections of this process to MCP servers.

All of them live on one event loop in a thread of their own, so that a server or its library never blocks the gateway's
loop, and nothing of them takes a database thread. A leg opens its session's servers first, all at once, and awaits that
without a thread; sync code then finds their tools without waiting. A server that cannot be reached has no tools. Only
legs that use it wait for it, for a bounded time, and it is left alone for a pause that grows with its failures.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from core_app.guarded_client import GuardedClient
from core_app.lifecycle import Part
from core_app.metrics import MCP_CALLS, MCP_FAILURES
from tools_app.executors.mcp_connection import Connection, Refused, Unreachable
from tools_app.mcp.definitions import ServerDefinition, ServerKey
from tools_app.mcp.grants import grant_auth
from tools_app.mcp.server import MakeBuiltins, Server, State
from tools_app.types import Outcome, unknown_outcome

R = TypeVar("R")

LONG_WAIT_SECONDS = 1.0
"""A leg that has waited longer for an attempt has probably waited with others: those of a silent server gather for ten
seconds."""

TEND_SECONDS = 30.0
IDLE_SECONDS = 900.0
"""Time after which a tenant's server that nobody uses is closed and forgotten."""

MAX_TENANT_CONNECTIONS = 256
"""Connections to tenants' servers; beyond, the one that was used longest ago is closed."""

CLOSE_ALL_SECONDS = 10.0

logger = logging.getLogger(__name__)


async def pause(seconds: float) -> None:
    """Keeps a leg back that has waited with others."""
    await asyncio.sleep(seconds)


class McpServers(Part):
    """The connections, opened at first use. `make_builtins` makes the tools of a server; `note_state` is told, on the
    loop of the connections, when the state of a server has changed."""

    def __init__(
        self,
        make_builtins: MakeBuiltins,
        note_state: Callable[[Server], Coroutine[Any, Any, None]],
    ) -> None:
        self._make_builtins = make_builtins
        self._note_state = note_state
        self._guard = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._servers: dict[ServerKey, Server] = {}
        self._http = GuardedClient()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._tending: asyncio.Task[None] | None = None

    async def stop(self) -> None:
        """Closes every connection and ends the thread."""
        await asyncio.to_thread(self.close_all)

    def close_all(self) -> None:
        """Closes every connection and ends the thread; for sync code."""
        with self._guard:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        with contextlib.suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(self._close_all(), loop).result(CLOSE_ALL_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CLOSE_ALL_SECONDS)
        if not thread.is_alive():
            loop.close()

    async def open(self, definitions: Sequence[ServerDefinition]) -> None:
        """Connects to those of the servers that are not connected and may be tried, and lists the tools of those whose
        list is old, all at once. Returns when each is ready or has failed; callers that have waited long for the same
        attempt go on one after the other."""
        wanted = [definition for definition in definitions if self._needs_work(definition)]
        if wanted:
            await asyncio.wrap_future(self._submit(self._open_all(wanted)))

    def server(self, key: ServerKey) -> Server | None:
        """Returns the server as it was last seen. Waits for nothing: `open` connects."""
        return self._servers.get(key)

    def servers(self) -> list[Server]:
        """Returns all servers that were used."""
        return list(self._servers.values())

    def forget(self, key: ServerKey) -> None:
        """Closes the connection of a server that is gone."""
        if key in self._servers:
            self._submit(self._forget(key))

    async def call(self, key: ServerKey, tool: str, args: Mapping[str, Any], *, idempotent: bool) -> Outcome:
        """Calls a tool of the server, from any loop. The outcome is `unknown` if a tool that is not `idempotent` may
        have taken effect."""
        known = self._servers.get(key)
        if known is None:
            return Outcome("error", f"The MCP server {key.name} is not configured any more.")
        outcome = await asyncio.wrap_future(self._submit(self._call(known, tool, args, idempotent)))
        MCP_CALLS.labels(_label(key), outcome.status).inc()
        return outcome

    async def probe(self, definition: ServerDefinition) -> Connection:
        """Connects for a test, beside the connection in use, and closes again. Returns the closed connection with what
        it found. Raises Unreachable."""
        return await asyncio.wrap_future(self._submit(self._probe(definition)))

    def run_later(self, work: Coroutine[Any, Any, object]) -> None:
        """Runs work on the loop of the connections, and waits for nothing."""
        self._submit(self._run_spawned(work))

    async def _run_spawned(self, work: Coroutine[Any, Any, object]) -> None:
        self._spawn(work)

    async def _probe(self, definition: ServerDefinition) -> Connection:
        connection = self._new_connection(definition, lambda: None)
        try:
            await connection.open()
        finally:
            await connection.close()
        return connection

    async def _call(self, known: Server, tool: str, args: Mapping[str, Any], idempotent: bool) -> Outcome:
        name, seconds = known.definition.key.name, known.definition.timeout_seconds
        from tools_app.mcp.content import outcome_of  # noqa: PLC0415  (no cycle: loaded late with the library)

        attempt = _Attempt()
        try:
            async with asyncio.timeout(seconds), known.slots:
                return outcome_of(await self._call_twice(known, tool, args, attempt))
        except Refused as refused:
            return Outcome("error", f"The MCP server {name} refused the call: {refused}")
        except TimeoutError:
            failed = Outcome("timeout", f"The MCP server {name} did not answer within {seconds:g} seconds.")
        except Unreachable as error:
            failed = Outcome("error", f"The MCP server {name} could not be reached, or broke off: {error.reason}")
            attempt.sent = attempt.sent and error.sent
        return unknown_outcome(failed.content) if attempt.sent and not idempotent else failed

    async def _call_twice(self, known: Server, tool: str, args: Mapping[str, Any], attempt: _Attempt) -> Any:
        """Makes the call, a second time on a new connection if the server has seen nothing of the first."""
        for last in (False, True):
            connection = await self._connect(known.definition)
            known.used_at, attempt.sent = time.monotonic(), True
            try:
                return await connection.call(tool, args, seconds=known.definition.timeout_seconds)
            except Unreachable as error:
                if error.sent or last:
                    raise
                attempt.sent = False
                if known.connection is connection:
                    known.connection = None
                    self._spawn(connection.close())
        raise AssertionError("the last attempt returns or raises")

    def _needs_work(self, definition: ServerDefinition) -> bool:
        known = self._servers.get(definition.key)
        return known is None or known.needs_work(definition)

    async def _open_all(self, definitions: Sequence[ServerDefinition]) -> None:
        began = asyncio.get_running_loop().time()
        await asyncio.gather(*(self._make_ready(each) for each in definitions), return_exceptions=True)
        now = asyncio.get_running_loop().time()
        if now - began >= LONG_WAIT_SECONDS:
            await pause(max(self._servers[each.key].leave_at(now) for each in definitions) - now)

    async def _make_ready(self, definition: ServerDefinition) -> None:
        await self._connect(definition)
        known = self._servers[definition.key]
        known.used_at = time.monotonic()
        if not known.is_fresh:
            if known.refreshing is None:
                known.refreshing = self._spawn(self._refresh(known))
            await asyncio.shield(known.refreshing)

    async def _refresh(self, known: Server) -> None:
        connection = known.connection
        try:
            known.stale = False
            if connection is not None:
                listing = await connection.refresh()
                known.note_listing(listing, self._make_builtins(known.definition, listing))
                self._tell(known)
        except Unreachable:
            # The session may have been forgotten, or the server restarted: a new connection says.
            known.connection = None
            await self._connect(known.definition)
        finally:
            known.refreshing = None

    async def _connect(self, definition: ServerDefinition) -> Connection:
        """Returns the server's connection. Everybody who needs it while it is being opened waits for the same attempt.
        Raises Unreachable."""
        known = self._servers.get(definition.key)
        if known is None:
            known = self._servers[definition.key] = Server(definition)
            self._make_room()
        self._redefine(known, definition)
        if known.connection is not None and known.is_open:
            return known.connection
        if known.opening is None:
            if known.closed_until > time.monotonic():
                raise Unreachable(known.reason, sent=False)
            known.opening = self._spawn(self._open(known, definition))
        return await asyncio.shield(known.opening)

    def _redefine(self, known: Server, definition: ServerDefinition) -> None:
        """Takes over a changed definition; a connection to a former endpoint ends with its calls."""
        former, known.definition = known.definition, definition
        if former == definition:
            return
        if former.endpoint != definition.endpoint or former.fault != definition.fault:
            if known.connection is not None:
                self._spawn(known.connection.retire(former.timeout_seconds))
            known.connection = known.opening = None
            known.failures, known.closed_until = 0, 0.0
        known.builtins = self._make_builtins(definition, known.listing)

    async def _open(self, known: Server, definition: ServerDefinition) -> Connection:
        connection = self._new_connection(definition, lambda: setattr(known, "stale", True))
        try:
            known.stale = False
            await connection.open()
        except Unreachable as error:
            if known.definition.endpoint == definition.endpoint:
                state: State = "unauthorized" if error.unauthorized else "unavailable"
                known.note_failure(state, error.reason)
                MCP_FAILURES.labels(_label(definition.key)).inc()
                self._tell(known)
            raise
        finally:
            if known.opening is asyncio.current_task():
                known.opening = None
        if known.definition.endpoint != definition.endpoint:
            self._spawn(connection.close())
            raise Unreachable("Its definition was changed.", sent=False)
        known.connection, known.protocol = connection, connection.protocol
        known.note_listing(connection.listing, self._make_builtins(known.definition, connection.listing))
        self._tell(known)
        return connection

    def _new_connection(self, definition: ServerDefinition, on_change: Callable[[], None]) -> Connection:
        return Connection(definition, http=self._http, on_change=on_change, auth=grant_auth(definition, self._http))

    def _make_room(self) -> None:
        """Closes the tenants' server that was used longest ago when there are too many."""
        tenants = [known for key, known in self._servers.items() if not key.is_operators]
        if len(tenants) > MAX_TENANT_CONNECTIONS:
            oldest = min(tenants, key=lambda known: known.used_at)
            self._spawn(self._forget(oldest.definition.key))

    async def _forget(self, key: ServerKey) -> None:
        known = self._servers.pop(key, None)
        if known is not None and known.opening is not None:
            known.opening.cancel()
        if known is not None and known.connection is not None:
            await known.connection.retire(known.definition.timeout_seconds)

    async def _tend(self) -> None:
        """Closes the servers of tenants that nobody uses any more."""
        while True:
            await asyncio.sleep(TEND_SECONDS)
            idle = time.monotonic() - IDLE_SECONDS
            for key, known in list(self._servers.items()):
                if not key.is_operators and known.used_at < idle:
                    self._spawn(self._forget(key))

    def _tell(self, known: Server) -> None:
        if known.definition.listed:
            self._spawn(self._note_state(known))

    def _spawn(self, work: Coroutine[Any, Any, R]) -> asyncio.Task[R]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Retrieved here, because everybody who waited may have been cancelled.
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        return task

    async def _close_all(self) -> None:
        if self._tending is not None:
            self._tending.cancel()
        connections = [known.connection for known in self._servers.values() if known.connection is not None]
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(connection.close() for connection in connections), return_exceptions=True)
        self._servers.clear()
        self._tending = None
        await self._http.stop()

    def _submit(self, work: Coroutine[Any, Any, R]) -> Future[R]:
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._loop.run_forever, name="gateway-mcp", daemon=True)
                self._thread.start()
                self._loop.call_soon_threadsafe(self._begin_tending)
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _begin_tending(self) -> None:
        self._tending = asyncio.get_running_loop().create_task(self._tend(), name="mcp-tend")


class _Attempt:
    """One call; `sent` is True once the server may have seen it."""

    sent = False


def _label(key: ServerKey) -> str:
    """The server in metrics: tenants' names would make as many series as they like."""
    return key.name if key.is_operators else "(tenants)"
