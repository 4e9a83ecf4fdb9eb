"""Reading the MCP servers of tenants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core_app import jsontext
from core_app.clock import iso_ms
from core_app.errors import NotFound, Unprocessable
from core_app.sealing import unseal
from tenants_app.principal import Principal
from tools_app import operator_rules
from tools_app.mcp.definitions import Endpoint, Pairs, ServerDefinition, ServerKey
from tools_app.mcp.models import McpServer, McpServerState


def tenant_definitions(tenant_id: int, names: Sequence[str]) -> dict[str, ServerDefinition]:
    """Returns those of the tenant's servers that are enabled, by name."""
    rows = McpServer.objects.filter(tenant_id=tenant_id, name__in=list(names), enabled=True).select_related("tenant")
    return {row.name: definition_of(row) for row in rows}


def definition_of(row: McpServer) -> ServerDefinition:
    """Returns the definition of a tenant's server."""
    fault: str | None = None
    headers: Pairs = ()
    try:
        headers = tuple(sorted(_headers(row).items()))
    except Unprocessable as error:
        fault = error.message
    if row.auth == "oauth" and not row.sealed_grant:
        fault = "Nobody has authorized it yet, or its authorization has ended: connect it."
    return ServerDefinition(
        key=ServerKey(row.tenant_id, row.name),
        endpoint=Endpoint(
            url=row.url,
            headers=headers,
            allow_private=row.tenant.allow_private,
            grant=row.pk if row.auth == "oauth" else None,
            version=row.version,
        ),
        approval=row.approval,
        timeout_seconds=row.timeout_ms / 1000,
        fault=fault,
    )


def _headers(row: McpServer) -> Mapping[str, str]:
    if row.auth != "header" or not row.sealed_headers:
        return {}
    opened: Mapping[str, str] = jsontext.decode(unseal(row.sealed_headers))
    return opened


def servers_allowed(tenant_id: int | None) -> tuple[str, ...]:
    """The names of the tenant's servers as a session's list of tools has them."""
    if tenant_id is None:
        return ()
    rows = McpServer.objects.filter(tenant_id=tenant_id, enabled=True).values_list("name", flat=True)
    return tuple(f"mcp:{name}" for name in rows)


def server_get(principal: Principal, name: str, *, for_update: bool = False) -> McpServer:
    """Returns a server of the principal's tenant; raises NotFound, also for another tenant's."""
    rows = McpServer.objects.select_related("tenant")
    if for_update:
        rows = rows.select_for_update(of=("self",))
    row = rows.filter(tenant_id=principal.tenant_id, name=jsontext.clean_text(name)).first()
    if row is None:
        raise NotFound("There is no MCP server of that name.", field="name")
    return row


def servers_list(principal: Principal) -> list[dict[str, Any]]:
    """The wire objects of the tenant's servers and of the operator's, which it can use, by name."""
    states = _states(principal.tenant_id)
    rows = McpServer.objects.filter(tenant_id=principal.tenant_id).order_by("name")
    theirs = [server_to_wire(row, states.get((row.tenant_id, row.name))) for row in rows]
    configured = [operator_to_wire(name, states.get((None, name))) for name in sorted(operator_rules.rules().mcp)]
    return [*theirs, *configured]


def state_of(row: McpServer) -> McpServerState | None:
    """Returns the state of a tenant's server, None before its first use."""
    return McpServerState.objects.filter(tenant_id=row.tenant_id, name=row.name).first()


def _states(tenant_id: int) -> dict[tuple[int | None, str], McpServerState]:
    rows = [*McpServerState.objects.filter(tenant_id=tenant_id), *McpServerState.objects.filter(tenant__isnull=True)]
    return {(row.tenant_id, row.name): row for row in rows}


def server_to_wire(row: McpServer, state: McpServerState | None) -> dict[str, Any]:
    """The wire object of a tenant's server (docs/mcp.md), without secrets."""
    return {
        "name": row.name,
        "source": "tenant",
        "url": row.url,
        "description": row.description,
        "auth": row.auth,
        "headerNames": list(row.header_names),
        "scope": row.scope,
        "clientId": row.client_id,
        "requiresApproval": row.approval,
        "timeoutMs": row.timeout_ms,
        "enabled": row.enabled,
        "authorized": bool(row.sealed_grant) if row.auth == "oauth" else None,
        "createdAt": iso_ms(row.created_at),
        "updatedAt": iso_ms(row.updated_at),
        **_state_to_wire(state),
    }


def operator_to_wire(name: str, state: McpServerState | None) -> dict[str, Any]:
    """The wire object of a server of the operator, whose address is nobody's affair."""
    section = operator_rules.rules().mcp[name]
    return {
        "name": name,
        "source": "operator",
        "requiresApproval": section.get("approval") == "always",
        "enabled": True,
        **_state_to_wire(state),
        # The operator's addresses and commands may be in it.
        **({"reason": None} if state is None or state.state != "ok" else {}),
    }


def _state_to_wire(state: McpServerState | None) -> dict[str, Any]:
    if state is None:
        return {"state": "unused", "reason": None, "tools": 0, "leftOut": [], "protocolVersion": None}
    return {
        "state": state.state,
        "reason": state.reason or None,
        "tools": state.tools,
        "leftOut": list(state.left_out),
        "protocolVersion": state.protocol or None,
    }
