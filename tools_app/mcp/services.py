"""Services that register, change and remove a tenant's MCP servers, and keep their OAuth grants.

Secrets are sealed, and no selector returns them. A grant or a header never follows a server to another origin: whoever
may change an address need not know the secret. Every change is in the audit trail.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from django.db import IntegrityError, transaction

from core_app import clock, jsontext
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict, NotFound
from core_app.guarded_client import AddressRefused, check_url
from core_app.sealing import seal, unseal
from tenants_app.models import Tenant
from tenants_app.principal import Principal
from tenants_app.services.audit import audit_record
from tools_app import operator_rules
from tools_app.mcp.models import McpServer, McpServerState
from tools_app.mcp.names import MAX_SERVER_CHARACTERS, SERVER_NAME
from tools_app.mcp.selectors import server_get

MAX_SERVERS = 20
"""Servers of one tenant. Each may hold a connection and 512 KiB of tools in every process."""

MAX_SCOPE_CHARACTERS = 1_000
MAX_HEADERS = 16
MAX_HEADER_CHARACTERS = 8_000
TIMEOUT_MS = range(1_000, 600_001)
FLOW_LIFE = timedelta(minutes=10)
"""Time that a person has for an authorization."""

AUTH = ("none", "header", "oauth")

_HEADER_NAME = re.compile(r"\A[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}\Z")
_HEADER_VALUE = re.compile(r"\A[\x20-\x7e\t]*\Z")
_OWN_HEADERS = frozenset(
    {"host", "connection", "content-length", "content-type", "transfer-encoding", "accept", "accept-encoding", "te"}
)


def server_create(*, principal: Principal, name: str, url: str, **fields: Any) -> McpServer:
    """Registers a server. Raises BadRequest naming the field, Conflict for a name in use and at MAX_SERVERS."""
    if not SERVER_NAME.match(name) or len(name) > MAX_SERVER_CHARACTERS:
        raise BadRequest(
            f"name must have at most {MAX_SERVER_CHARACTERS} letters, digits and single '-' or '_'.", field="name"
        )
    if name in operator_rules.rules().mcp:
        raise Conflict(f"The operator has an MCP server called {name}.", field="name")
    row = McpServer(tenant_id=principal.tenant_id, name=name)
    _apply(row, {"url": url, **fields}, principal)
    with write_transaction():
        # Two concurrent requests must not both create the last one.
        Tenant.objects.select_for_update(no_key=True).get(pk=principal.tenant_id)
        if McpServer.objects.filter(tenant_id=principal.tenant_id).count() >= MAX_SERVERS:
            raise Conflict(f"A tenant has at most {MAX_SERVERS} MCP servers.")
        try:
            with transaction.atomic():
                row.save()
        except IntegrityError:
            raise Conflict(f"There is an MCP server called {name}.", field="name") from None
        _audit(principal, "mcp_server.create", row)
    return row


def server_change(*, principal: Principal, name: str, changes: Mapping[str, Any]) -> McpServer:
    """Changes the given fields. Connections are made anew at their next use. Raises BadRequest naming the field."""
    with write_transaction():
        row = server_get(principal, name, for_update=True)
        _apply(row, changes, principal)
        row.version, row.updated_at = row.version + 1, clock.now()
        row.save()
        _audit(principal, "mcp_server.change", row)
    return row


def server_delete(*, principal: Principal, name: str) -> None:
    """Removes a server with its secrets. Sessions that name it go on without its tools."""
    with write_transaction():
        row = server_get(principal, name, for_update=True)
        server_remove(row, actor=principal.actor)


def server_remove(row: McpServer, *, actor: str) -> None:
    """Removes a row, with its audit entry. The caller has a write transaction."""
    audit_record(actor=actor, action="mcp_server.delete", target=row.name, tenant_id=row.tenant_id)
    McpServerState.objects.filter(tenant_id=row.tenant_id, name=row.name).delete()
    row.delete()


def grant_forget(*, principal: Principal, name: str) -> McpServer:
    """Forgets an authorization, and one that was begun."""
    with write_transaction():
        row = server_get(principal, name, for_update=True)
        clear_grant(row)
        row.version, row.updated_at = row.version + 1, clock.now()
        row.save()
        _audit(principal, "mcp_server.disconnect", row)
    return row


def flow_store(*, principal: Principal, name: str, version: int, state: str, grant: Mapping[str, Any]) -> McpServer:
    """Keeps an authorization that a person has to confirm; one that was begun before is void. Raises Conflict when the
    server was changed meanwhile."""
    with write_transaction():
        row = server_get(principal, name, for_update=True)
        if row.version != version:
            raise Conflict("The MCP server was changed meanwhile.")
        row.flow_hash, row.flow_until = state_hash(state), clock.now() + FLOW_LIFE
        row.sealed_flow = seal(jsontext.encode_text(grant))
        row.save(update_fields=["flow_hash", "flow_until", "sealed_flow"])
        _audit(principal, "mcp_server.connect", row)
    return row


def flow_take(state: str) -> tuple[McpServer, dict[str, Any]]:
    """Takes the authorization that was begun with this state, once. Raises NotFound for any other, and a late one."""
    with write_transaction():
        rows = McpServer.objects.select_related("tenant").select_for_update(of=("self",))
        row = rows.filter(flow_hash=state_hash(state)).first()
        if row is None or row.sealed_flow is None or row.flow_until is None or row.flow_until < clock.now():
            raise NotFound("This authorization is not awaited, or no longer: begin it again.")
        begun: dict[str, Any] = jsontext.decode(unseal(row.sealed_flow))
        row.flow_hash = row.flow_until = row.sealed_flow = None
        row.save(update_fields=["flow_hash", "flow_until", "sealed_flow"])
    return row, begun


def grant_store(*, key: int, version: int, grant: Mapping[str, Any], expires_at: float | None) -> bool:
    """Keeps the grant that a person gave to the server of this key. False when it was changed meanwhile."""
    with write_transaction():
        row = McpServer.objects.select_for_update().filter(pk=key, version=version, auth="oauth").first()
        if row is None:
            return False
        set_grant(row, grant, expires_at)
        row.version, row.updated_at = row.version + 1, clock.now()
        row.save()
        audit_record(actor="browser", action="mcp_server.authorize", target=row.name, tenant_id=row.tenant_id)
    return True


def state_hash(state: str) -> str:
    """Returns what is stored of a state, which is a credential."""
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).hexdigest()


def _apply(row: McpServer, changes: Mapping[str, Any], principal: Principal) -> None:
    """Checks and sets the fields."""
    former = _origin(row.url)
    if "url" in changes:
        row.url = _checked_url(changes["url"], principal)
    if "description" in changes:
        row.description = jsontext.clean_text(changes["description"])
    if "enabled" in changes:
        row.enabled = changes["enabled"]
    if "requires_approval" in changes:
        row.approval = changes["requires_approval"]
    if "timeout_ms" in changes:
        row.timeout_ms = changes["timeout_ms"]
    auth = changes.get("auth", row.auth)
    if auth not in AUTH:
        raise BadRequest(f"auth must be one of {', '.join(AUTH)}.", field="auth")
    moved = bool(former) and former != _origin(row.url)
    _apply_headers(row, changes, auth, moved=moved)
    _apply_oauth(row, changes, auth, moved=moved)
    row.auth = auth


def _apply_headers(row: McpServer, changes: Mapping[str, Any], auth: str, *, moved: bool) -> None:
    headers = changes.get("headers")
    if auth != "header":
        if headers:
            raise BadRequest("headers go with auth header only.", field="headers")
        row.header_names, row.sealed_headers = [], None
    elif headers is not None:
        checked = headers_check(headers)
        row.header_names, row.sealed_headers = sorted(checked), seal(jsontext.encode_text(checked))
    elif moved or not row.sealed_headers:
        raise BadRequest("headers must be given: secrets do not move to another origin.", field="headers")


def _apply_oauth(row: McpServer, changes: Mapping[str, Any], auth: str, *, moved: bool) -> None:
    named = {"scope", "client_id", "client_secret"} & set(changes)
    if auth != "oauth" and any(changes[name] for name in named):
        raise BadRequest(f"{min(named)} goes with auth oauth only.", field=_WIRE[min(named)])
    if auth != "oauth" or moved or named or auth != row.auth:
        clear_grant(row)
    if auth != "oauth" or moved:
        row.sealed_client_secret = None
    if auth != "oauth":
        row.scope = row.client_id = ""
    for name in ("scope", "client_id"):
        if name in named:
            setattr(row, name, jsontext.clean_text(changes[name]))
    if "client_secret" in named:
        secret = changes["client_secret"]
        row.sealed_client_secret = seal(jsontext.clean_text(secret)) if secret else None
    if row.sealed_client_secret and not row.client_id:
        raise BadRequest("clientSecret needs a clientId.", field="clientSecret")


_WIRE = {"scope": "scope", "client_id": "clientId", "client_secret": "clientSecret"}


def clear_grant(row: McpServer) -> None:
    row.sealed_grant = row.grant_expires_at = row.refreshing_until = None
    row.flow_hash = row.flow_until = row.sealed_flow = None


def set_grant(row: McpServer, grant: Mapping[str, Any], expires_at: float | None) -> None:
    row.sealed_grant = seal(jsontext.encode_text(grant))
    row.grant_expires_at = None if expires_at is None else datetime.fromtimestamp(expires_at, UTC)
    row.refreshing_until = None


def _checked_url(url: str, principal: Principal) -> str:
    tenant = Tenant.objects.get(pk=principal.tenant_id)
    try:
        return check_url(url, allow_private=tenant.allow_private)
    except AddressRefused as error:
        raise BadRequest(f"url {error.reason}", field="url") from None


def headers_check(headers: Any, field: str = "headers") -> dict[str, str]:
    """Returns checked headers for requests to a server. Raises BadRequest that names `field`."""
    if not isinstance(headers, Mapping) or not 0 < len(headers) <= MAX_HEADERS:
        raise BadRequest(f"{field} must be an object of 1 to {MAX_HEADERS} headers.", field=field)
    for name, value in headers.items():
        if not isinstance(name, str) or not _HEADER_NAME.match(name):
            raise BadRequest(f"{field} has a name that is none.", field=field)
        if name.lower() in _OWN_HEADERS or name.lower().startswith("mcp-"):
            raise BadRequest(f"{field} has {name}, which the gateway sets itself.", field=field)
        if not isinstance(value, str) or len(value) > MAX_HEADER_CHARACTERS or not _HEADER_VALUE.match(value):
            raise BadRequest(f"{field} has a value of {name} that cannot be sent.", field=field)
    return dict(headers)


def _origin(url: str) -> str:
    if not url:
        return ""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}".lower()


def _audit(principal: Principal, action: str, row: McpServer) -> None:
    audit_record(
        actor=principal.actor,
        action=action,
        target=row.name,
        tenant_id=row.tenant_id,
        # Without the query, which may be a credential.
        detail={"host": urlsplit(row.url).hostname, "auth": row.auth, "enabled": row.enabled},
    )


def scope_want(*, key: int, scope: str) -> None:
    """Adds to the scope that the next authorization asks for, because the server wants more."""
    with write_transaction():
        row = McpServer.objects.select_for_update().filter(pk=key).first()
        if row is None:
            return
        wanted = dict.fromkeys([*row.scope.split(), *jsontext.clean_text(scope).split()])
        text = " ".join(wanted)
        if len(text) <= MAX_SCOPE_CHARACTERS and text != row.scope:
            McpServer.objects.filter(pk=key).update(scope=text, updated_at=clock.now())
