"""Tools of MCP servers, presented as built-ins: those of the operator's servers (section `mcp` of the configuration
file), and those of the servers that a tenant registered.

`mcp:<server>` in a session's list stands for all tools of the server, which the model calls `mcp__<server>__<tool>`
(`tools_app.mcp.names`). Where both have a server of one name, it is the operator's. `open_servers` is awaited before
sync code asks for tools; that waits for nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core_app import database
from core_app.lifecycle import process_wide
from tools_app import operator_rules
from tools_app.executors.base import Builtin
from tools_app.executors.mcp_connection import preload_library
from tools_app.mcp.definitions import ServerDefinition, ServerKey, operator_definition
from tools_app.mcp.names import PREFIX, server_of
from tools_app.mcp.pool import McpServers
from tools_app.mcp.selectors import tenant_definitions
from tools_app.mcp.states import STATE_NOTES
from tools_app.mcp.tool_list import McpTool, ToolList
from tools_app.types import CallContext, Outcome

__all__ = ["PREFIX", "SERVERS", "Unavailable", "find", "open_servers", "preload", "tools_of", "unavailable"]

LIST_PREFIX = "mcp:"
"""Begins the names of servers in a session's list of tools."""


@dataclass(frozen=True, slots=True)
class Unavailable:
    """A server without tools, or one tool of it. `reason` is a sentence."""

    server: str
    tool: str | None
    reason: str


async def preload() -> None:
    """Loads the library of MCP servers in a thread, if any server is configured."""
    if operator_rules.rules().mcp:
        await asyncio.to_thread(preload_library)


async def open_servers(names: Sequence[str], tenant_id: int | None = None) -> None:
    """Connects to the server of every `mcp:<server>` among `names`, so that `tools_of` and `find` know its tools. Costs
    a query only where a server is not the operator's."""
    if servers := _servers_among(names):
        await SERVERS.open(await _define(servers, tenant_id))


async def _define(servers: Sequence[str], tenant_id: int | None) -> list[ServerDefinition]:
    found = [definition for server in servers if (definition := operator_definition(server)) is not None]
    known = {definition.key.name for definition in found}
    missing = [server for server in servers if server not in known]
    if tenant_id is None or not missing:
        return found
    theirs = await database.run_leg(tenant_id, tenant_definitions, tenant_id, missing)
    for server in missing:
        if server not in theirs:
            SERVERS.forget(ServerKey(tenant_id, server))
    return [*found, *theirs.values()]


def tools_of(names: Sequence[str], tenant_id: int | None = None) -> list[Builtin]:
    """The tools of every `mcp:<server>` among `names` that has been opened."""
    return [tool for server in _servers_among(names) for tool in _tools(server, tenant_id)]


def unavailable(names: Sequence[str], tenant_id: int | None = None) -> list[Unavailable]:
    """The servers among `names` that have no tools now, and the tools of the others that the model is not told of."""
    found: list[Unavailable] = []
    for server in _servers_among(names):
        known = SERVERS.server(_key(server, tenant_id))
        if known is None:
            found.append(Unavailable(server, None, f"There is no MCP server {server} any more."))
        elif known.state != "ok":
            found.append(Unavailable(server, None, known.reason or "It has not been connected to."))
        else:
            found += [Unavailable(server, each.tool, each.reason) for each in known.listing.left_out]
    return found


def find(name: str, names: Sequence[str] | None, tenant_id: int | None = None) -> Builtin | None:
    """The tool that the model calls by this name, if `names` has its server; `names` None allows every server."""
    server = server_of(name)
    if not name.startswith(PREFIX) or (names is not None and f"{LIST_PREFIX}{server}" not in names):
        return None
    return next((tool for tool in _tools(server, tenant_id) if tool.name == name), None)


def _servers_among(names: Sequence[str]) -> list[str]:
    return [name.removeprefix(LIST_PREFIX) for name in names if name.startswith(LIST_PREFIX)]


def _key(server: str, tenant_id: int | None) -> ServerKey:
    return ServerKey(None if server in operator_rules.rules().mcp else tenant_id, server)


def _tools(server: str, tenant_id: int | None) -> Sequence[Builtin]:
    key = _key(server, tenant_id)
    if key.is_operators and server not in operator_rules.rules().mcp:
        return ()
    known = SERVERS.server(key)
    return () if known is None else known.builtins


def make_builtins(definition: ServerDefinition, listing: ToolList) -> tuple[Builtin, ...]:
    """Makes the tools of a server."""
    return tuple(_as_builtin(definition, tool) for tool in listing.tools)


def _as_builtin(definition: ServerDefinition, tool: McpTool) -> Builtin:
    key = definition.key

    async def run(args: Mapping[str, Any], context: CallContext) -> Outcome:
        return await SERVERS.call(key, tool.original, args, idempotent=tool.idempotent)

    return Builtin(
        name=tool.name,
        description=tool.description,
        parameters=tool.parameters,
        run=run,
        requires_approval=definition.approval,
        hint=f"A tool of the MCP server {key.name}.",
        idempotent=tool.idempotent,
        trusted=key.is_operators,
        is_checked=tool.is_checked,
    )


SERVERS = process_wide(McpServers(make_builtins, STATE_NOTES.note))
"""Process-wide instance, started by `Gateway`."""
