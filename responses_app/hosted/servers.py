"""MCP servers as tools of a request (`{"type": "mcp"}`): which server each means, which of its tools the model may
call, and which calls a person approves first.

A `server_label` names a server of the operator's configuration, else one of the tenant's. With `server_url` the request
brings its own, which needs the right to register servers, and is reached by the guarded client alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from core_app.errors import BadRequest, Forbidden
from core_app.guarded_client import AddressRefused, check_url
from inference_app.errors import UnsupportedParameter
from tenants_app.models import Tenant
from tenants_app.principal import ADMIN, Principal
from tools_app.executors.mcp import SERVERS
from tools_app.mcp.definitions import CALL_SECONDS, Endpoint, ServerDefinition, ServerKey, operator_definition
from tools_app.mcp.names import MAX_SERVER_CHARACTERS, SERVER_NAME, model_name
from tools_app.mcp.selectors import tenant_definitions
from tools_app.mcp.services import headers_check
from tools_app.mcp.tool_list import McpTool

Json = dict[str, Any]

MAX_SERVERS = 20
"""Servers of one request."""

_ELSEWHERE = ("connector_id", "tunnel_id")


@dataclass(frozen=True, slots=True)
class ToolFilter:
    """Some tools of a server: by their names, or by what they do. None: any."""

    names: frozenset[str] | None = None
    read_only: bool | None = None

    def matches(self, tool: McpTool) -> bool:
        """True for a tool that is meant."""
        if self.names is not None and tool.original not in self.names:
            return False
        return self.read_only is None or tool.read_only == self.read_only


@dataclass(frozen=True, slots=True)
class HostedTool:
    """A tool that the model may call by `name`."""

    name: str
    label: str
    key: ServerKey
    tool: McpTool
    needs_approval: bool

    def as_function(self) -> Json:
        """Returns the tool as a model gets it."""
        about = {"description": self.tool.description} if self.tool.description else {}
        shape: Json = {"type": "function", "name": self.name, **about, "parameters": dict(self.tool.parameters)}
        return {**shape, "strict": False}


@dataclass(frozen=True, slots=True)
class HostedServer:
    """A server that a request names. `always` and `never` are the filters of `require_approval`."""

    label: str
    definition: ServerDefinition
    allowed: ToolFilter
    always: ToolFilter | None
    never: ToolFilter | None

    def tools(self) -> list[HostedTool]:
        """Returns the tools that the model may call, as the server listed them last."""
        known = SERVERS.server(self.definition.key)
        listed = () if known is None or known.state != "ok" else known.listing.tools
        return [
            HostedTool(
                model_name(self.label, tool.original), self.label, self.definition.key, tool, self._needs_approval(tool)
            )
            for tool in listed
            if self.allowed.matches(tool)
        ]

    @property
    def fault(self) -> str | None:
        """The reason for which the server has no tools now, None if it has."""
        known = SERVERS.server(self.definition.key)
        if known is not None and known.state == "ok":
            return None
        if self.definition.key.is_operators:
            # The operator's addresses and commands may be in the reason.
            return "The server cannot be reached."
        return (known.reason if known is not None else "") or "The server cannot be reached."

    def _needs_approval(self, tool: McpTool) -> bool:
        if self.definition.approval:
            # No request lowers what the operator or the tenant wants.
            return True
        if self.never is not None and self.never.matches(tool):
            return False
        if self.always is not None and self.always.matches(tool):
            return True
        return self.never is not None or self.always is None


def is_elsewhere(tool: Json) -> bool:
    """True for a server that a provider of the Responses API may know, and the gateway does not."""
    return any(tool.get(name) for name in ("server_url", *_ELSEWHERE))


def hosted_server(tool: Json, path: str, principal: Principal, *, checked: bool) -> HostedServer:
    """Returns the server that a tool of a request means. `checked`: the right to bring it was checked before.

    Raises BadRequest, UnsupportedParameter for what only OpenAI has, Forbidden for an address without the right to
    register servers."""
    label = tool.get("server_label")
    if not isinstance(label, str) or not SERVER_NAME.match(label) or len(label) > MAX_SERVER_CHARACTERS:
        raise BadRequest(
            f"'{path}.server_label' must have at most {MAX_SERVER_CHARACTERS} letters, digits and single '-' or '_'.",
            field=f"{path}.server_label",
        )
    for name in _ELSEWHERE:
        if tool.get(name):
            raise UnsupportedParameter(
                f"'{name}' names a service of OpenAI that this gateway does not serve: name a server of the gateway by"
                " 'server_label', or give 'server_url'.",
                field=f"{path}.{name}",
            )
    url = tool.get("server_url")
    definition = _given(tool, path, principal, checked=checked) if url else _registered(label, path, principal)
    always, never = _approvals(tool.get("require_approval"), f"{path}.require_approval")
    allowed = _filter(tool.get("allowed_tools"), f"{path}.allowed_tools") or ToolFilter()
    return HostedServer(label, definition, allowed, always, never)


def _registered(label: str, path: str, principal: Principal) -> ServerDefinition:
    found = operator_definition(label) or tenant_definitions(principal.tenant_id, [label]).get(label)
    if found is None:
        raise BadRequest(
            f"There is no MCP server '{label}' here: register it (/v1/mcp-servers), or give 'server_url'.",
            field=f"{path}.server_label",
        )
    return found


def _given(tool: Json, path: str, principal: Principal, *, checked: bool) -> ServerDefinition:
    if not checked and not principal.allows(ADMIN):
        raise Forbidden(
            "'server_url' brings an MCP server of its own, which needs a key with the scope admin: let one register the"
            " server (/v1/mcp-servers), and name it by 'server_label'.",
            field=f"{path}.server_url",
        )
    allow_private = Tenant.objects.get(pk=principal.tenant_id).allow_private
    try:
        url = check_url(_text(tool["server_url"], f"{path}.server_url"), allow_private=allow_private)
    except AddressRefused as error:
        raise BadRequest(f"'{path}.server_url' {error.reason}", field=f"{path}.server_url") from None
    headers = dict(headers_check(tool["headers"], f"{path}.headers")) if tool.get("headers") else {}
    if tool.get("authorization"):
        headers["Authorization"] = f"Bearer {_text(tool['authorization'], f'{path}.authorization')}"
        headers_check({"Authorization": headers["Authorization"]}, f"{path}.authorization")
    pairs = tuple(sorted(headers.items()))
    digest = hashlib.sha256(repr((url, pairs)).encode()).hexdigest()[:24]
    return ServerDefinition(
        key=ServerKey(principal.tenant_id, f"url:{digest}"),
        endpoint=Endpoint(url=url, headers=pairs, allow_private=allow_private),
        timeout_seconds=CALL_SECONDS,
        listed=False,
    )


def _approvals(given: Any, field: str) -> tuple[ToolFilter | None, ToolFilter | None]:
    """Returns the filters of the tools that are always approved by a person, and of those that never are."""
    if given is None or given == "always":
        return ToolFilter(), None
    if given == "never":
        return None, ToolFilter()
    if not isinstance(given, Mapping) or not set(given) <= {"always", "never"}:
        raise BadRequest(f"'{field}' must be always, never, or an object with filters of these names.", field=field)
    return _filter(given.get("always"), f"{field}.always"), _filter(given.get("never"), f"{field}.never")


def _filter(given: Any, field: str) -> ToolFilter | None:
    if given is None:
        return None
    fields: Mapping[str, Any] = {"tool_names": given} if isinstance(given, Sequence) else given
    if isinstance(given, str) or not isinstance(fields, Mapping):
        raise BadRequest(f"'{field}' must be a list of names, or an object with tool_names or read_only.", field=field)
    names, read_only = fields.get("tool_names"), fields.get("read_only")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise BadRequest(f"'{field}.tool_names' must be a list of texts.", field=f"{field}.tool_names")
    if not isinstance(read_only, bool | None):
        raise BadRequest(f"'{field}.read_only' must be true or false.", field=f"{field}.read_only")
    return ToolFilter(None if names is None else frozenset(names), read_only)


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str):
        raise BadRequest(f"'{field}' must be a text.", field=field)
    return value
