"""What the operator decides about tools, in the configuration file's sections `tools` and `mcp`.

    tools:
      builtins: [ask_user, current_time, fetch_url]     # what clients may name; all of them without this line
      approvals: {fetch_url: always}                    # wins over every client's policy
    mcp:
      files: {command: [files-server, --root, /srv/files]}
      search: {url: "https://search.example/mcp", headers_env: {Authorization: SEARCH_TOKEN}, approval: always}

Of a server also: `cwd`, `env`, `env_from` (names that are passed on; nothing else of the gateway's environment
is), `headers`, `timeout_seconds` (60).

The file is read again when it changes. A mistake in it is an Unprocessable that names the place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from django.conf import settings

from core_app.errors import Unprocessable

_SERVER_NAME = re.compile(r"\A[A-Za-z0-9]+([_-][A-Za-z0-9]+)*\Z")

OFFERED = ("ask_user", "current_time", "fetch_url")
"""The built-in tools that an operator can offer to clients."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The two sections, checked. `mcp` maps a server's name to its own mapping."""

    builtins: tuple[str, ...] = OFFERED
    approvals: Mapping[str, str] | None = None
    mcp: Mapping[str, Mapping[str, Any]] | None = None


def rules() -> Rules:
    """The rules in force; a missing file is an empty one."""
    path = Path(settings.GATEWAY_CONFIG)
    try:
        stamp = path.stat().st_mtime_ns
    except FileNotFoundError:
        return Rules()
    return _read(path, stamp)


def builtins_allowed() -> tuple[str, ...]:
    """The names that a client may put into `tools`: built-ins, and `mcp:<server>` for each server."""
    now = rules()
    return (*now.builtins, *(f"mcp:{server}" for server in now.mcp or {}))


def approval_rule(tool_name: str) -> str | None:
    """`always` or `never` where the operator says so for this tool, else None."""
    return (rules().approvals or {}).get(tool_name)


@lru_cache(maxsize=4)
def _read(path: Path, stamp: int) -> Rules:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError):
        raise Unprocessable("GATEWAY_CONFIG names a file that is not valid YAML.") from None
    tools, mcp = _mapping(document, "tools"), _mapping(document, "mcp")
    builtins = tuple(tools.get("builtins", OFFERED))
    if unknown := [name for name in builtins if name not in OFFERED]:
        raise Unprocessable(f"tools.builtins of GATEWAY_CONFIG names {unknown[0]!r}; there are: {', '.join(OFFERED)}.")
    approvals = _mapping(tools, "approvals")
    if wrong := [name for name, rule in approvals.items() if rule not in ("always", "never")]:
        raise Unprocessable(f"tools.approvals.{wrong[0]} of GATEWAY_CONFIG must be always or never.")
    for server in mcp:
        _server_check(str(server), _mapping(mcp, server))
    return Rules(builtins, approvals, mcp)


def _server_check(server: str, section: Mapping[str, Any]) -> None:
    place = f"mcp.{server} of GATEWAY_CONFIG"
    if not _SERVER_NAME.match(server):
        raise Unprocessable(f"{place} must be named with letters, digits and single '-' or '_'.")
    command = section.get("command")
    if ("url" in section) == (command is not None):
        raise Unprocessable(f"{place} must have either a url or a command.")
    if command is not None and not (command and isinstance(command, list) and all(isinstance(x, str) for x in command)):
        raise Unprocessable(f"{place} must have its command as a list of texts.")
    if section.get("approval", "never") not in ("always", "never"):
        raise Unprocessable(f"{place} must have an approval of always or never.")


def _mapping(document: Any, name: str) -> Mapping[str, Any]:
    value = (document.get(name) if isinstance(document, Mapping) else None) or {}
    if not isinstance(value, Mapping):
        raise Unprocessable(f"{name} of GATEWAY_CONFIG must be a mapping.")
    return value
