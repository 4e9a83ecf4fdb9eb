"""One connection to an MCP server, owned by one task and shared by all callers.

The library requires that the task that enters a context leaves it, so a dedicated task owns them. A broken connection
stays broken; `tools_app.executors.mcp` opens a new one at the next use. The imports inside functions are deliberate:
the library takes 0.9 s to load, which a gateway without MCP servers does not pay (`preload_library`).
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any

import anyio

from core_app.environment import read_variable

if TYPE_CHECKING:
    from mcp import Client

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 5.0
"""Time that the end of a connection is waited for; a server that is silent then is left to its task."""

MAX_TOOLS = 256
MAX_PAGES = 20


def preload_library() -> None:
    """Loads the library, which would else delay the whole process at the first use of a server."""
    for module in ("mcp", "mcp.client.stdio", "mcp.client.streamable_http"):
        import_module(module)


class Unreachable(Exception):
    """The server did not start, did not respond, or closed the connection."""


class Refused(Exception):
    """The server responded to the call with a protocol error."""


class Connection:
    """A connection that runs on one loop; `open` fills `tools`."""

    def __init__(self, server: str, section: Mapping[str, Any]) -> None:
        self.tools: list[Any] = []
        self.broken = False
        self._server = server
        self._section = section
        self._client: Client | None = None
        self._ready = asyncio.Event()
        self._over = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connects and lists the tools; raises Unreachable when that fails or takes longer than CONNECT_SECONDS."""
        self._task = asyncio.create_task(self._hold_open(), name=f"mcp:{self._server}")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            await self.close()
        except asyncio.CancelledError:
            await self.close()
            raise
        if self._client is None:
            raise Unreachable(self._server)

    async def call(self, tool: str, args: Mapping[str, Any]) -> Any:
        """Returns the server's result; raises Unreachable for a broken connection and Refused for a protocol error."""
        from mcp import MCPError  # noqa: PLC0415  (loaded by `open`)
        from mcp_types import CONNECTION_CLOSED  # noqa: PLC0415

        if self._client is None or self.broken:
            raise Unreachable(self._server)
        call = asyncio.ensure_future(self._client.call_tool(tool, dict(args)))
        over = asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait({call, over}, return_when=asyncio.FIRST_COMPLETED)
            if call.done():
                return call.result()
            raise Unreachable(self._server)
        except MCPError as error:
            if error.error.code != CONNECTION_CLOSED:
                raise Refused(self._server) from None
            self._drop()
            raise Unreachable(self._server) from None
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._drop()
            raise Unreachable(self._server) from None
        finally:
            call.cancel()
            over.cancel()

    async def close(self) -> None:
        """Ends the owning task, and with it the process or the HTTP session."""
        self._drop()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)

    def _drop(self) -> None:
        self.broken = True
        if self._task is not None:
            self._task.cancel()

    async def _hold_open(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                client = await self._enter(stack)
                self.tools = await _list_tools(client)
                self._client = client
                self._ready.set()
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise
        except Exception:  # contains: whatever is wrong with the operator's server, it counts as unreachable
            logger.warning("mcp_server_failed", extra={"server": self._server}, exc_info=True)
        finally:
            self.broken = True
            self._over.set()
            self._ready.set()

    async def _enter(self, stack: AsyncExitStack) -> Client:
        from mcp import Client, StdioServerParameters  # noqa: PLC0415
        from mcp.client.stdio import stdio_client  # noqa: PLC0415
        from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415
        from mcp.shared._httpx_utils import create_mcp_http_client  # noqa: PLC0415

        if url := self._section.get("url"):
            http = await stack.enter_async_context(create_mcp_http_client(headers=_headers(self._section)))
            return await stack.enter_async_context(Client(streamable_http_client(url, http_client=http)))
        command, *args = self._section["command"]
        parameters = StdioServerParameters(
            command=command, args=args, env=_environment(self._section), cwd=self._section.get("cwd")
        )
        return await stack.enter_async_context(Client(stdio_client(parameters, errlog=sys.__stderr__ or sys.stderr)))


async def _list_tools(client: Client) -> list[Any]:
    found: list[Any] = []
    cursor: str | None = None
    for _ in range(MAX_PAGES):
        page = await client.list_tools(cursor=cursor)
        found += page.tools
        cursor = page.next_cursor
        if cursor is None or len(found) >= MAX_TOOLS:
            break
    return found[:MAX_TOOLS]


def _environment(section: Mapping[str, Any]) -> dict[str, str]:
    passed = {name: value for name in section.get("env_from", ()) if (value := read_variable(name)) is not None}
    return {**passed, **{name: str(value) for name, value in (section.get("env") or {}).items()}}


def _headers(section: Mapping[str, Any]) -> dict[str, str]:
    named = {name: read_variable(source) or "" for name, source in (section.get("headers_env") or {}).items()}
    return {**{name: str(value) for name, value in (section.get("headers") or {}).items()}, **named}
