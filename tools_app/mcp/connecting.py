"""Tests and authorizations of tenants' MCP servers, for faces and the admin. No thread is held while a server is
awaited.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core_app.clock import iso_ms
from core_app.database import run_action
from core_app.errors import Conflict, Unavailable
from core_app.guarded_client import CLIENT, GuardedClient
from core_app.shares import Claim
from tenants_app.principal import ADMIN, Principal
from tools_app.executors.mcp import SERVERS
from tools_app.executors.mcp_connection import Unreachable
from tools_app.mcp.definitions import ServerDefinition
from tools_app.mcp.grants import client_of, stored_grant
from tools_app.mcp.models import McpServer
from tools_app.mcp.selectors import definition_of, server_get
from tools_app.mcp.services import flow_store, flow_take, grant_store
from tools_app.mcp.states import state_save

_DESCRIPTION_CHARACTERS = 200
CONNECT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Authorized:
    """The end of an authorization, for the page that a person reads."""

    server: str
    tenant: str


async def server_test(principal: Principal, name: str) -> dict[str, Any]:
    """Connects to a server and lists its tools; returns what was found (docs/mcp.md). Raises NotFound."""
    principal.require(ADMIN)
    claim = Claim(principal.tenant_id, None)
    definition = await run_action(claim, _definition_get, principal, name)
    return await definition_test(definition)


async def definition_test(definition: ServerDefinition) -> dict[str, Any]:
    """Connects to a server and lists its tools; what was found is its state from now on."""
    try:
        connection = await SERVERS.probe(definition)
    except Unreachable as error:
        state = "unauthorized" if error.unauthorized else "unavailable"
        values: dict[str, Any] = {"state": state, "reason": error.reason, "tools": 0, "left_out": []}
        shown: list[dict[str, str]] = []
    else:
        left_out = [{"tool": each.tool, "reason": each.reason} for each in connection.listing.left_out]
        tools = connection.listing.tools
        values = {"state": "ok", "reason": "", "tools": len(tools), "left_out": left_out}
        values["protocol"] = connection.protocol
        shown = [
            {"name": tool.original, "modelName": tool.name, "description": tool.description[:_DESCRIPTION_CHARACTERS]}
            for tool in tools
        ]
    key = definition.key
    await run_action(Claim(key.tenant_id or 0, None), state_save, key, values)
    return {
        "state": values["state"],
        "reason": values["reason"] or None,
        "protocolVersion": values.get("protocol") or None,
        "tools": shown,
        "leftOut": values["left_out"],
    }


async def server_connect(principal: Principal, name: str, *, http: GuardedClient = CLIENT) -> dict[str, Any]:
    """Begins the authorization of a server; returns the address for a person's browser and its end. Raises NotFound,
    Conflict for a server without OAuth, and Unprocessable with the reason when it cannot be begun."""
    from tools_app.mcp.oauth import begin_flow  # noqa: PLC0415  (loads the library)

    principal.require(ADMIN)
    claim = Claim(principal.tenant_id, None)
    row, client, former = await run_action(claim, _client_get, principal, name)
    begun = await begin_flow(client, http, former=former)
    stored = await run_action(
        claim,
        flow_store,
        principal=principal,
        name=row.name,
        version=row.version,
        state=begun.state,
        grant=begun.grant.to_json(),
    )
    assert isinstance(stored.flow_until, datetime)  # set by the line before
    return {"authorizationUrl": begun.url, "expiresAt": iso_ms(stored.flow_until)}


def server_connect_now(principal: Principal, name: str) -> dict[str, Any]:
    """The same for a page, whose thread waits CONNECT_SECONDS at most. Raises Unavailable when that is not enough."""
    try:
        return SERVERS.run_now(server_connect(principal, name, http=SERVERS.http), CONNECT_SECONDS)
    except TimeoutError:
        raise Unavailable(f"The server did not answer within {CONNECT_SECONDS:.0f} s. Try again.") from None


async def authorization_complete(*, state: str, code: str, iss: str | None) -> Authorized:
    """Ends the authorization that was begun with `state`. Raises NotFound, Unprocessable, Conflict."""
    from tools_app.mcp.oauth import Grant, complete_flow  # noqa: PLC0415  (loads the library)

    claim = Claim(0, None)
    row, begun = await run_action(claim, flow_take, state)
    grant = await complete_flow(client_of(row), CLIENT, Grant.from_json(begun), code=code, iss=iss)
    kept = await run_action(
        claim, grant_store, key=row.pk, version=row.version, grant=grant.to_json(), expires_at=grant.expires_at
    )
    if not kept:
        raise Conflict("The MCP server was changed meanwhile: begin the authorization again.")
    return Authorized(row.name, row.tenant.slug)


async def authorization_refuse(*, state: str) -> Authorized:
    """Ends an authorization that the person or the authorization server refused. Raises NotFound."""
    row, _ = await run_action(Claim(0, None), flow_take, state)
    return Authorized(row.name, row.tenant.slug)


def _definition_get(principal: Principal, name: str) -> ServerDefinition:
    return definition_of(server_get(principal, name))


def _client_get(principal: Principal, name: str) -> tuple[McpServer, Any, Any]:
    row = server_get(principal, name)
    if row.auth != "oauth":
        raise Conflict("Only a server with auth oauth can be authorized.", field="auth")
    return row, client_of(row), stored_grant(row)


def server_test_later(row: McpServer) -> None:
    """Tests a server in the background; what is found becomes its state. For callers that must not wait."""
    SERVERS.run_later(definition_test(definition_of(row)))
