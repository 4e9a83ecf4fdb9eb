"""A session's tools: registration, removal, lists, and the built-ins that the session may use.

Input from a tenant is checked here, before it is stored; the address of a callback is checked again at every call.
Each change is an event of the session's stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from core_app import guarded_client, jsontext
from core_app.clock import iso_ms
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict, NotFound
from core_app.sealing import seal
from events_app import log
from tenants_app.models import Tenant
from tools_app import operator_rules
from tools_app.events import ToolAttached, ToolDetached
from tools_app.executors import builtin
from tools_app.mcp.selectors import servers_allowed
from tools_app.models import SessionTool
from tools_app.schema import schema_check
from tools_app.signing import secret_check
from tools_app.types import ToolSpec

MAX_TOOLS = 128
"""Tools per session. Models choose badly among more, and every request carries all of them."""

MAX_DESCRIPTION_CHARACTERS = 8_000
MAX_HINT_CHARACTERS = 2_000
TIMEOUT_MS = range(100, 600_001)

NAME_PATTERN = r"\A[A-Za-z_][A-Za-z0-9_-]{0,63}\Z"

_NAME = re.compile(NAME_PATTERN)


def tool_attach(
    *,
    tenant_id: int,
    stream_id: int,
    registration: Mapping[str, Any],
    origin: Literal["client", "operator"] = "client",
) -> dict[str, Any]:
    """Registers a tool, or replaces the one of the same name; returns its wire object.

    BadRequest names the field at fault; Conflict when the session has MAX_TOOLS already.
    """
    tenant = Tenant.objects.get(pk=tenant_id)
    fields = _check_registration(registration, allow_private=tenant.allow_private)
    with write_transaction():
        log.lock(stream_id)
        others = SessionTool.objects.filter(stream_id=stream_id).exclude(name=fields["name"])
        if others.count() >= MAX_TOOLS:
            raise Conflict(f"A session has at most {MAX_TOOLS} tools.")
        existing = SessionTool.objects.filter(stream_id=stream_id, name=fields["name"]).first()
        if existing is not None and existing.origin == "operator" and origin == "client":
            raise Conflict(f"The tool {fields['name']} is the operator's and cannot be replaced.", field="name")
        tool, _ = SessionTool.objects.update_or_create(
            stream_id=stream_id,
            name=fields.pop("name"),
            defaults={**fields, "tenant_id": tenant_id, "origin": origin},
        )
        log.append(stream_id, [ToolAttached(tool_name=tool.name)])
        return to_wire(tool)


def tool_detach(*, stream_id: int, name: str, origin: Literal["client", "operator"] = "client") -> None:
    """Removes a tool. Raises NotFound for an unknown name, and Conflict when the tool belongs to the operator.
    Calls that are under way settle normally."""
    with write_transaction():
        log.lock(stream_id)
        tool = SessionTool.objects.filter(stream_id=stream_id, name=jsontext.clean_text(name)).first()
        if tool is None:
            raise NotFound("The session has no tool of that name.", field="name")
        if tool.origin == "operator" and origin == "client":
            raise Conflict(f"The tool {tool.name} is the operator's and cannot be removed.", field="name")
        tool.delete()
        log.append(stream_id, [ToolDetached(tool_name=name)])


def tools_copy(*, source_id: int, target_id: int) -> None:
    """Copies the tools of one session to a new one, in the caller's transaction."""
    for tool in SessionTool.objects.filter(stream_id=source_id).order_by("pk"):
        tool.pk, tool.stream_id = None, target_id
        tool._state.adding = True
        tool.save(force_insert=True)


def tools_list(stream_id: int) -> list[dict[str, Any]]:
    """The wire objects of the session's registered tools, without secrets."""
    return [to_wire(tool) for tool in SessionTool.objects.filter(stream_id=stream_id).order_by("name")]


def tool_specs(stream_id: int, builtins: Sequence[str], tenant_id: int | None = None) -> tuple[ToolSpec, ...]:
    """The tools that the model may call: the session's built-ins, then its registered tools by name."""
    registered = SessionTool.objects.filter(stream_id=stream_id).order_by("name")
    own = [ToolSpec(tool.name, tool.description, jsontext.decode(tool.parameters)) for tool in registered]
    return (*builtin.specs(builtins, tenant_id), *own)


def builtins_check(names: Sequence[Any], tenant_id: int | None = None) -> tuple[str, ...]:
    """Returns `names` without duplicates; raises BadRequest (field `tools`) for one that the operator forbids, and for
    an MCP server that neither the operator nor the tenant has."""
    allowed = operator_rules.builtins_allowed()
    if any(isinstance(name, str) and name.startswith("mcp:") and name not in allowed for name in names):
        allowed = (*allowed, *servers_allowed(tenant_id))
    for name in names:
        if not isinstance(name, str) or name not in allowed:
            raise BadRequest(
                f"tools names {str(name)[:64]!r}, which is no built-in tool here; there are: {', '.join(allowed)}.",
                field="tools",
            )
    return tuple(dict.fromkeys(names))


def to_wire(tool: SessionTool) -> dict[str, Any]:
    """The tool's wire object (docs/protocol-native.md, "Tools, approvals, questions")."""
    return {
        "name": tool.name,
        "description": tool.description,
        "parameters": jsontext.decode(tool.parameters),
        "callbackUrl": tool.callback_url,
        "timeoutMs": tool.timeout_ms,
        "requiresApproval": tool.requires_approval,
        "hint": tool.hint,
        "idempotent": tool.idempotent,
        "createdAt": iso_ms(tool.created_at),
    }


def _check_registration(given: Mapping[str, Any], *, allow_private: bool) -> dict[str, Any]:
    name = given.get("name")
    if not isinstance(name, str) or not _NAME.match(name):
        raise BadRequest("name must match [A-Za-z_][A-Za-z0-9_-]{0,63}.", field="name")
    if name in builtin.NAMES or name.startswith(builtin.MCP_PREFIX):
        raise BadRequest(f"name {name} is a built-in tool's.", field="name")
    secret = given.get("secret")
    return {
        "name": name,
        "description": _text(given, "description", MAX_DESCRIPTION_CHARACTERS) or "",
        "parameters": schema_check({} if given.get("parameters") is None else given["parameters"]),
        "callback_url": _callback_url(given.get("callbackUrl"), allow_private=allow_private),
        "timeout_ms": _timeout(given.get("timeoutMs")),
        "requires_approval": _flag(given, "requiresApproval", False),
        "hint": _text(given, "hint", MAX_HINT_CHARACTERS),
        "sealed_secret": None if secret is None else seal(secret_check(secret)),
        "idempotent": _flag(given, "idempotent", True),
    }


def _callback_url(value: Any, *, allow_private: bool) -> str | None:
    if value is None:
        return None
    try:
        return guarded_client.check_url(value, allow_private=allow_private)
    except guarded_client.AddressRefused as error:
        raise BadRequest(f"callbackUrl {error.reason}", field="callbackUrl") from None


def _timeout(value: Any) -> int:
    if value is None:
        return 30_000
    if not isinstance(value, int) or isinstance(value, bool) or value not in TIMEOUT_MS:
        raise BadRequest("timeoutMs must be a whole number from 100 to 600000.", field="timeoutMs")
    return value


def _text(given: Mapping[str, Any], field: str, limit: int) -> str | None:
    value = given.get(field)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > limit:
        raise BadRequest(f"{field} must be text of at most {limit} characters.", field=field)
    return jsontext.clean_text(value)


def _flag(given: Mapping[str, Any], field: str, default: bool) -> bool:
    value = given.get(field)
    if value is None:
        return default
    if not isinstance(value, bool):
        raise BadRequest(f"{field} must be true or false.", field=field)
    return value
