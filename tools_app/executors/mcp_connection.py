"""One connection to an MCP server, owned by one task and shared by all callers.

The library requires that the task that enters a context leaves it, so a dedicated task owns them. A broken connection
stays broken; `tools_app.executors.mcp` opens a new one at the next use. The library negotiates the protocol: 2026-07-28
without a session, older versions with the `initialize` handshake. The imports inside functions are deliberate: the
library takes 0.9 s to load, which a gateway without MCP servers does not pay (`preload_library`).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TYPE_CHECKING, Any

import anyio

from core_app import jsontext
from tools_app.mcp.definitions import ServerDefinition
from tools_app.mcp.tool_list import MAX_TOOLS, ToolList, ToolListBuilder

if TYPE_CHECKING:
    from mcp import Client, MCPError

    from core_app.guarded_client import GuardedClient

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 5.0
"""Time that the end of a connection is waited for; a server that is silent then is left to its task."""

LAST_ANSWER_SECONDS = 1.0
"""Time that the answer to a call may take after the connection was closed."""

LISTEN_PAUSE_SECONDS = 5.0
"""Pause before a lost subscription to changes is made anew."""

MAX_PAGES = 20
MAX_MESSAGE_CHARACTERS = 2_000


def preload_library() -> None:
    """Loads the library, which would else delay the whole process at the first use of a server."""
    for module in ("mcp", "mcp.client.stdio", "mcp.client.streamable_http", "tools_app.mcp.incoming"):
        import_module(module)


class Unreachable(Exception):
    """The server did not start, did not respond, or closed the connection. `reason` is a sentence about it; `sent` is
    False when it is certain that the server has seen nothing of the request; `unauthorized` when it wants other
    credentials."""

    def __init__(
        self, reason: str = "It could not be reached.", *, sent: bool = True, unauthorized: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.sent = sent
        self.unauthorized = unauthorized


class SessionLost(Unreachable):
    """The server does not know the session any more, and has done nothing."""

    def __init__(self) -> None:
        super().__init__("It does not know the session any more.", sent=False)


class Refused(Exception):
    """The server responded to the call with a protocol error; the text is its message."""


class Connection:
    """A connection that runs on one loop; `open` fills `listing`. `on_change` is called when the server says that its
    tools have changed. `auth` signs the requests to an address."""

    def __init__(
        self,
        definition: ServerDefinition,
        *,
        http: GuardedClient,
        on_change: Callable[[], None] = lambda: None,
        auth: Any = None,
    ) -> None:
        self.definition = definition
        self.listing = ToolList()
        self.broken = False
        self.protocol = ""
        self.denied = 0
        """The last 401 or 403 of the server, 0 without one."""
        self._http = http
        self._on_change = on_change
        self._auth = auth
        self._client: Client | None = None
        self._builder = self._new_builder()
        self._fault: str | None = None
        self._ready = asyncio.Event()
        self._over = asyncio.Event()
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._task: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connects and lists the tools; raises Unreachable when that fails or takes longer than CONNECT_SECONDS."""
        if (fault := self.definition.fault) is not None:
            raise Unreachable(fault, sent=False, unauthorized=self.definition.endpoint.grant is not None)
        self._task = asyncio.create_task(self._hold_open(), name=f"mcp:{self.definition.key.name}")
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._ready.wait()
        except TimeoutError:
            self._fault = f"It did not answer within {CONNECT_SECONDS:g} seconds."
            await self.close()
        except asyncio.CancelledError:
            await self.close()
            raise
        if self._client is None:
            fault = self._fault or "It could not be reached, or broke off."
            raise Unreachable(fault, sent=False, unauthorized=bool(self.denied))

    async def refresh(self) -> ToolList:
        """Lists the tools again. Raises Unreachable; the connection is of no use then."""
        client = self._usable_client()
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                self.listing = await self._list_tools(client)
        except TimeoutError:
            self._drop()
            raise Unreachable(f"It did not list its tools within {CONNECT_SECONDS:g} seconds.") from None
        except Exception as error:  # contains: whatever a server answers
            self._drop()
            raise Unreachable(self._describe(error)) from None
        return self.listing

    async def call(self, tool: str, args: Mapping[str, Any], *, seconds: float) -> Any:
        """Returns the server's result. Raises Unreachable for a broken connection, SessionLost, Refused for a protocol
        error, and TimeoutError."""
        from mcp import MCPError  # noqa: PLC0415  (loaded by `open`)
        from pydantic import ValidationError  # noqa: PLC0415

        client = self._usable_client()
        call = asyncio.ensure_future(client.call_tool(tool, dict(args), read_timeout_seconds=seconds))
        over = asyncio.ensure_future(self._over.wait())
        self._calls += 1
        self._idle.clear()
        try:
            await asyncio.wait({call, over}, return_when=asyncio.FIRST_COMPLETED)
            # A server may answer and end at once; the library still hands the answer on.
            await asyncio.wait({call}, timeout=LAST_ANSWER_SECONDS)
            if call.done():
                return call.result()
            raise Unreachable("It closed the connection.")
        except MCPError as error:
            raise self._call_error(error) from None
        except ValidationError:
            raise Refused("Its answer is malformed.") from None
        except (anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._drop()
            raise Unreachable("It closed the connection.") from None
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()
            call.cancel()
            over.cancel()
            await asyncio.gather(call, over, return_exceptions=True)

    async def retire(self, seconds: float) -> None:
        """Closes the connection once its calls have ended, after `seconds` at the latest."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        await self.close()

    async def close(self) -> None:
        """Ends the owning task, and with it the process or the HTTP session."""
        self._drop()
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=CLOSE_SECONDS)

    def _usable_client(self) -> Client:
        if self._client is None or self.broken:
            raise Unreachable("It closed the connection.", sent=False)
        return self._client

    def _call_error(self, error: MCPError) -> Exception:
        from mcp_types import CONNECTION_CLOSED, REQUEST_TIMEOUT  # noqa: PLC0415

        from tools_app.mcp.transport import failure_kind  # noqa: PLC0415

        kind, code = failure_kind(error.error.data), error.error.code
        if kind == "session_lost":
            self._drop()
            return SessionLost()
        if kind == "status":
            return Refused(error.error.message)
        if kind is not None:
            return Unreachable(error.error.message, sent=kind != "unsent")
        if code == REQUEST_TIMEOUT:
            return TimeoutError()
        if code == CONNECTION_CLOSED and not self.definition.endpoint.url:
            self._drop()
        if code == CONNECTION_CLOSED:
            return Unreachable("It broke off.")
        return Refused(jsontext.clean_text(error.error.message)[:MAX_MESSAGE_CHARACTERS])

    def _describe(self, error: BaseException) -> str:
        """Returns a sentence about a failure that is safe to show."""
        from mcp import MCPError  # noqa: PLC0415

        if isinstance(error, BaseExceptionGroup):
            return self._describe(error.exceptions[0])
        if isinstance(error, MCPError):
            return jsontext.clean_text(error.error.message)[:MAX_MESSAGE_CHARACTERS] or "It answered with an error."
        if isinstance(error, FileNotFoundError | PermissionError):
            return f"Its command cannot be run: {error.strerror}."
        return "Its answers are no MCP, or it broke off."

    def _drop(self) -> None:
        self.broken = True
        if self._task is not None:
            self._task.cancel()

    def _end(self) -> None:
        """Notes that the server has closed the connection."""
        self.broken = True
        self._over.set()

    async def _hold_open(self) -> None:
        try:
            async with AsyncExitStack() as stack:
                client = await self._enter(stack)
                self.protocol = client.protocol_version
                self.listing = await self._list_tools(client)
                self._client = client
                self._ready.set()
                await self._follow_changes(client)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # contains: whatever is wrong with a server, it counts as unreachable
            from tools_app.mcp.transport import status_text  # noqa: PLC0415

            # The library tries an older protocol after that, whose answer says less.
            self._fault = f"It answered {status_text(self.denied)}." if self.denied else self._describe(error)
            logger.warning("mcp_server_failed", extra={"server": self.definition.key.name}, exc_info=True)
        finally:
            self._end()
            self._ready.set()

    async def _follow_changes(self, client: Client) -> None:
        """Waits for the end. Protocol 2026-07-28 tells of changes only to those who subscribe."""
        from mcp import MCPError  # noqa: PLC0415
        from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost  # noqa: PLC0415

        tools = client.server_capabilities.tools
        with contextlib.suppress(ListenNotSupportedError, MCPError):
            while tools is not None and tools.list_changed:
                with contextlib.suppress(SubscriptionLost, TimeoutError):
                    async with client.listen(tools_list_changed=True) as changes:
                        async for _ in changes:
                            self._on_change()
                await asyncio.sleep(LISTEN_PAUSE_SECONDS)
                # Whatever changed meanwhile was not told.
                self._on_change()
        await self._over.wait()

    async def _note_message(self, message: Any) -> None:
        if getattr(message, "method", None) == "notifications/tools/list_changed":
            self._on_change()

    async def _enter(self, stack: AsyncExitStack) -> Client:
        from mcp import Client  # noqa: PLC0415
        from mcp_types import Implementation  # noqa: PLC0415

        return await stack.enter_async_context(
            Client(
                self._transport(),
                read_timeout_seconds=CONNECT_SECONDS,
                message_handler=self._note_message,
                client_info=Implementation(name="agent-gateway", version="1"),
                cache=None,
            )
        )

    @contextlib.asynccontextmanager
    async def _transport(self) -> AsyncIterator[Any]:
        from tools_app.mcp.incoming import IncomingMessages  # noqa: PLC0415

        async with self._raw_transport() as (read, write):
            incoming = IncomingMessages(
                read, fault=self._tool_fault, note_bad_tool=self._note_bad_tool, ended=self._end
            )
            yield incoming, write

    @contextlib.asynccontextmanager
    async def _raw_transport(self) -> AsyncIterator[Any]:
        import httpx2  # noqa: PLC0415
        from mcp.client.stdio import StdioServerParameters, stdio_client  # noqa: PLC0415
        from mcp.client.streamable_http import streamable_http_client  # noqa: PLC0415

        from tools_app.mcp.transport import MAX_BODY_BYTES, GuardedTransport  # noqa: PLC0415

        endpoint = self.definition.endpoint
        if endpoint.url is None:
            command, *args = endpoint.command
            parameters = StdioServerParameters(
                command=command, args=args, env=dict(endpoint.environment), cwd=endpoint.cwd
            )
            async with stdio_client(parameters, errlog=sys.__stderr__ or sys.stderr) as streams:
                yield streams
            return
        transport = GuardedTransport(
            self._http,
            owner=self.definition.key.tenant_id,
            allow_private=endpoint.allow_private,
            seconds=max(CONNECT_SECONDS, self.definition.timeout_seconds),
            note_status=self._note_status,
        )
        async with (
            httpx2.AsyncClient(
                transport=transport, headers=dict(endpoint.headers), auth=self._auth, timeout=None
            ) as http,
            streamable_http_client(endpoint.url, http_client=http, max_sse_event_size=MAX_BODY_BYTES) as streams,
        ):
            yield streams

    def _note_status(self, status: int) -> None:
        if status in (401, 403):
            self.denied = status

    def _new_builder(self) -> ToolListBuilder:
        key = self.definition.key
        return ToolListBuilder(key.name, trusted=key.is_operators)

    def _note_bad_tool(self, name: str, reason: str) -> None:
        self._builder.leave_out(name, reason)

    def _tool_fault(self, tool: dict[str, Any]) -> str | None:
        """Says why the library would not take the tool."""
        from mcp.shared.inbound import find_invalid_x_mcp_header  # noqa: PLC0415
        from mcp_types import Tool  # noqa: PLC0415
        from mcp_types.version import MODERN_PROTOCOL_VERSIONS  # noqa: PLC0415
        from pydantic import ValidationError  # noqa: PLC0415

        from tools_app.mcp.incoming import short_reason  # noqa: PLC0415

        if tool["inputSchema"].get("type") != "object":
            return 'Its inputSchema must describe an object: its type must be "object".'
        try:
            Tool.model_validate(tool, by_name=False)
        except ValidationError as error:
            return short_reason(error)
        header = find_invalid_x_mcp_header(tool["inputSchema"])
        if header is not None and self.protocol in MODERN_PROTOCOL_VERSIONS:
            return f"Its x-mcp-header is invalid: {header}."
        return None

    async def _list_tools(self, client: Client) -> ToolList:
        self._builder = builder = self._new_builder()
        found, cursor = 0, None
        for _ in range(MAX_PAGES):
            page = await client.list_tools(cursor=cursor)
            for tool in page.tools:
                builder.add(tool)
                # Schemas are compiled here, and calls to other servers go on meanwhile.
                await asyncio.sleep(0)
            found += len(page.tools)
            cursor = page.next_cursor
            if cursor is None or found > MAX_TOOLS:
                break
        return builder.build()
