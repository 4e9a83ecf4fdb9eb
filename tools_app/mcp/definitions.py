"""Definitions of MCP servers: those of the operator's configuration file, and those that a tenant registered.

A definition is a value. A connection is used for as long as the definition of its server gives the same `endpoint`, so
a changed address, command, header or header file takes effect at the next use.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core_app.environment import UnreadableSecret, read_variable
from tools_app import operator_rules

CALL_SECONDS = 60.0
"""Time of a call, unless the definition says otherwise."""

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class ServerKey:
    """The name of a server, with the tenant that registered it; the operator's have none."""

    tenant_id: int | None
    name: str

    @property
    def is_operators(self) -> bool:
        """True for a server of the configuration file."""
        return self.tenant_id is None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Everything that a connection depends on: an address with its headers, or a command with its environment.

    `grant` is the key of the row with an OAuth grant, and `version` changes with every change of that row.
    """

    url: str | None = None
    headers: Pairs = ()
    command: tuple[str, ...] = ()
    environment: Pairs = ()
    cwd: str | None = None
    allow_private: bool = True
    grant: int | None = None
    version: int = 0


@dataclass(frozen=True, slots=True)
class ServerDefinition:
    """A server. `fault` is a sentence that says why it cannot be used, whatever it would answer. One that is not
    `listed` came with a request and is in no list of servers."""

    key: ServerKey
    endpoint: Endpoint
    approval: bool = False
    timeout_seconds: float = CALL_SECONDS
    fault: str | None = None
    listed: bool = True


def operator_definition(name: str) -> ServerDefinition | None:
    """Returns the operator's server of this name, None without one. Reads the header files that it names."""
    section = operator_rules.rules().mcp.get(name)
    if section is None:
        return None
    fault, endpoint = None, Endpoint()
    try:
        endpoint = _endpoint(section)
    except UnreadableSecret as error:
        fault = str(error)
    return ServerDefinition(
        key=ServerKey(None, name),
        endpoint=endpoint,
        approval=section.get("approval") == "always",
        timeout_seconds=float(section.get("timeout_seconds", CALL_SECONDS)),
        fault=fault,
    )


def _endpoint(section: Mapping[str, Any]) -> Endpoint:
    if url := section.get("url"):
        return Endpoint(url=str(url), headers=_pairs(headers_of(section)))
    return Endpoint(
        command=tuple(section["command"]), environment=_pairs(environment_of(section)), cwd=section.get("cwd")
    )


def environment_of(section: Mapping[str, Any]) -> dict[str, str]:
    """Returns the variables that a command gets beyond a few harmless ones."""
    passed = {name: value for name in section.get("env_from", ()) if (value := read_variable(name)) is not None}
    return {**passed, **{name: str(value) for name, value in (section.get("env") or {}).items()}}


def headers_of(section: Mapping[str, Any]) -> dict[str, str]:
    """Returns the headers that an address gets; the value of `headers_env` may be in a file."""
    named = {name: read_variable(source) or "" for name, source in (section.get("headers_env") or {}).items()}
    return {**{name: str(value) for name, value in (section.get("headers") or {}).items()}, **named}


def _pairs(values: Mapping[str, str]) -> Pairs:
    return tuple(sorted(values.items()))
