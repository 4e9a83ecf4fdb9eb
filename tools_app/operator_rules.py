"""The operator's rules for tools, from the sections `tools` and `mcp` of the configuration file.

    tools:
      builtins: [ask_user, current_time, fetch_url]     # what clients may name; all of them without this line
      approvals: {fetch_url: always}                    # wins over every client's policy
    mcp:
      files: {command: [files-server, --root, /srv/files]}
      search: {url: "https://search.example/mcp", headers_env: {Authorization: SEARCH_TOKEN}, approval: always}

Of a server also: `cwd`, `env`, `env_from` (names that are passed on; nothing else of the gateway's environment
is), `headers`, `timeout_seconds` (60).

The file is read again when it changes; a broken file leaves the last good rules in force (`core_app.config_file`).
Without earlier good rules, a fault raises Unprocessable and names the setting.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core_app.config_file import ConfigurationError, Section
from core_app.errors import Unprocessable
from core_app.lifecycle import process_wide
from core_app.suggestion import suggestion
from tools_app.mcp.names import MAX_SERVER_CHARACTERS, SERVER_NAME

_SERVER_FIELDS = (
    "command", "cwd", "env", "env_from", "url", "headers", "headers_env", "timeout_seconds", "approval",
)  # fmt: skip

OFFERED = ("ask_user", "current_time", "fetch_url")
"""The built-in tools that an operator can offer to clients."""


@dataclass(frozen=True, slots=True)
class ToolRules:
    """The section `tools`: built-ins on offer, and `always` or `never` by tool name."""

    builtins: tuple[str, ...] = OFFERED
    approvals: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rules:
    """Both sections, checked. `mcp` maps a server's name to its own mapping."""

    builtins: tuple[str, ...]
    approvals: Mapping[str, str]
    mcp: Mapping[str, Mapping[str, Any]]


def rules() -> Rules:
    """The rules in force; a missing file is an empty one."""
    try:
        tools, mcp = TOOLS.get(), MCP.get()
    except ConfigurationError as error:
        message = str(error)
        raise Unprocessable(message if "GATEWAY_CONFIG" in message else f"GATEWAY_CONFIG: {message}") from None
    return Rules(tools.builtins, tools.approvals, mcp)


def builtins_allowed() -> tuple[str, ...]:
    """The names that a client may list in `tools`: built-ins, and `mcp:<server>` for each server."""
    now = rules()
    return (*now.builtins, *(f"mcp:{server}" for server in now.mcp))


def approval_rule(tool_name: str) -> str | None:
    """The operator's rule for this tool, `always` or `never`, or None."""
    return rules().approvals.get(tool_name)


def parse_tools(section: Any) -> ToolRules:
    """Checks the section `tools`; raises ConfigurationError that names the fault."""
    tools = _mapping_of(section, "tools")
    _check_fields("tools", tools, ("builtins", "approvals"))
    named = tools.get("builtins", OFFERED)
    if not isinstance(named, list | tuple):
        raise ConfigurationError("tools.builtins of GATEWAY_CONFIG must be a list.")
    builtins = tuple(named)
    if unknown := [name for name in builtins if name not in OFFERED]:
        raise ConfigurationError(
            f"tools.builtins of GATEWAY_CONFIG names {unknown[0]!r}.{suggestion(str(unknown[0]), OFFERED)}"
            f" There are: {', '.join(OFFERED)}."
        )
    approvals = _mapping_of(tools.get("approvals"), "approvals")
    if wrong := [name for name, rule in approvals.items() if rule not in ("always", "never")]:
        raise ConfigurationError(f"tools.approvals.{wrong[0]} of GATEWAY_CONFIG must be always or never.")
    return ToolRules(builtins, approvals)


def parse_mcp(section: Any) -> Mapping[str, Mapping[str, Any]]:
    """Checks the section `mcp`; raises ConfigurationError that names the fault."""
    servers = _mapping_of(section, "mcp")
    for server in servers:
        _check_server(str(server), _mapping_of(servers[server], server))
    return servers


def _check_server(server: str, section: Mapping[str, Any]) -> None:
    entry = f"mcp.{server} of GATEWAY_CONFIG"
    if not SERVER_NAME.match(server) or len(server) > MAX_SERVER_CHARACTERS:
        raise ConfigurationError(
            f"{entry} must be named with at most {MAX_SERVER_CHARACTERS} letters, digits and single '-' or '_'."
        )
    _check_fields(f"mcp.{server}", section, _SERVER_FIELDS)
    command = section.get("command")
    if ("url" in section) == (command is not None):
        raise ConfigurationError(f"{entry} must have either a url or a command.")
    if command is not None and not (command and isinstance(command, list) and all(isinstance(x, str) for x in command)):
        raise ConfigurationError(f"{entry} must have its command as a list of texts.")
    if section.get("approval", "never") not in ("always", "never"):
        raise ConfigurationError(f"{entry} must have an approval of always or never.")


def _check_fields(path: str, section: Mapping[str, Any], known: tuple[str, ...]) -> None:
    if unknown := next((str(name) for name in section if name not in known), None):
        raise ConfigurationError(
            f"{path}.{unknown} of GATEWAY_CONFIG is not a field.{suggestion(unknown, known)}"
            f" There are: {', '.join(known)}."
        )


def _mapping_of(value: Any, name: Any) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{name} of GATEWAY_CONFIG must be a mapping.")
    return value


TOOLS: Section[ToolRules] = process_wide(Section("tools", parse_tools), reset=Section.forget)
MCP: Section[Mapping[str, Mapping[str, Any]]] = process_wide(Section("mcp", parse_mcp), reset=Section.forget)
