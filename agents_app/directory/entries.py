"""Definitions of agents: the entries of the configuration file, those of the gateway itself, and registered rows.

An id means the file's agent first, then the operator's row for all tenants, then the tenant's own, then the shipped
one. So a tenant cannot take the place of an agent of the operator, and what the file has costs no query.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Protocol

from django.conf import settings
from django.db.models import Q
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from agents_app.directory.shipped import SHIPPED
from agents_app.models import ID_PATTERN, Agent
from agents_app.programs.fields import ProgramFields
from core_app.config_file import Section
from core_app.lifecycle import process_wide
from core_app.suggestion import suggestion
from tenants_app.principal import DEFAULT_TENANT

Source = Literal["configuration", "tenant", "shipped"]

PROGRAM_TYPES = ("process", "claude-code", "openclaw", "acp")
"""Types that run programs, which only the operator registers."""

ENDPOINT_TYPES = ("http", "remote")

SHARED_RUNTIME = "remote"
"""The id of the agent that `GATEWAY_AGENT_URL` serves, unless the configuration has one of this id."""


class TenantRef(Protocol):
    """The tenant for which an agent is looked up: a principal or a session of a leg."""

    @property
    def tenant_id(self) -> int:
        """Its row."""

    @property
    def tenant_slug(self) -> str:
        """Its name."""


class AgentEntry(BaseModel):
    """An entry of `agents:` in the configuration, or a row in the same form. `type` names its engine, which interprets
    any further fields. `max_running` is the number of running sessions from which on it is shown as busy."""

    FORM: ClassVar[str] = "fields such as {id: helper, type: model, model: deepseek-chat}"
    model_config = ConfigDict(extra="allow", frozen=True)

    id: str = Field(pattern=rf"^{ID_PATTERN}$")
    name: str = ""
    description: str = ""
    type: str = Field(min_length=1)
    endpoint: str = ""
    model: str | None = None
    system_prompt: str = ""
    tools: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    timeout: float | None = Field(default=None, ge=0)
    max_running: int | None = Field(default=None, ge=1)
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Definition:
    """An agent as it is defined. `tenant_id` is None for an agent of all tenants. `trusted`: the operator defined it,
    so it may run programs and call private addresses."""

    entry: AgentEntry
    source: Source
    tenant_id: int | None
    trusted: bool

    @property
    def id(self) -> str:
        return self.entry.id

    @property
    def command(self) -> str:
        """The program, empty for an agent that is none. Claude Code and OpenClaw have a command by default."""
        if self.entry.type not in PROGRAM_TYPES:
            return ""
        given = (self.entry.model_extra or {}).get("command")
        defaults = {"claude-code": "claude", "openclaw": "openclaw"}
        return str(given or defaults.get(self.entry.type, ""))

    @property
    def endpoint(self) -> str:
        """The address, empty for an agent that has none."""
        if self.entry.type == "remote" and self.trusted:
            return self.entry.endpoint or str(settings.GATEWAY_AGENT_URL)
        return self.entry.endpoint if self.entry.type in ENDPOINT_TYPES else ""


def _check_entries(entries: tuple[AgentEntry, ...]) -> tuple[AgentEntry, ...]:
    """Refuses an id that stands twice, and fields that no engine of the gateway's own types reads."""
    seen: set[str] = set()
    for entry in entries:
        if entry.id in seen:
            raise ValueError(f"has the id {entry.id!r} twice")
        seen.add(entry.id)
        fields = _FURTHER_FIELDS.get(entry.type)
        further = entry.model_extra or {}
        if fields is not None and (unknown := next((name for name in further if name not in fields), None)):
            near = suggestion(unknown, [*AgentEntry.model_fields, *fields])
            raise ValueError(
                f"has in {entry.id!r} the field {unknown!r}, which type {entry.type!r} does not read.{near}"
            )
    return entries


_PROGRAM_FIELDS = frozenset(ProgramFields.model_fields)
_FURTHER_FIELDS = {
    "model": frozenset[str](),
    "http": frozenset[str](),
    "remote": frozenset[str](),
    **dict.fromkeys(PROGRAM_TYPES, _PROGRAM_FIELDS),
}
"""Fields beside those of `AgentEntry`, by type. Types of GATEWAY_ENGINES read what they like."""

_FORM = Annotated[tuple[AgentEntry, ...], AfterValidator(_check_entries)]
_ENTRIES: TypeAdapter[tuple[AgentEntry, ...]] = TypeAdapter(_FORM)
AGENTS: Section[tuple[AgentEntry, ...]] = process_wide(
    Section("agents", lambda section: _ENTRIES.validate_python(section or ()), tuple[AgentEntry, ...]),
    reset=Section.forget,
)
"""The entries of the file. One with `enabled: false` switches a shipped agent off."""


def configured_agents() -> dict[str, Definition]:
    """Returns the agents of the file, also those that are switched off, and the runtime of `GATEWAY_AGENT_URL`."""
    entries: dict[str, AgentEntry] = {}
    for entry in AGENTS.get():
        entries.setdefault(entry.id, entry)
    if settings.GATEWAY_AGENT_URL:
        entries.setdefault(SHARED_RUNTIME, AgentEntry(id=SHARED_RUNTIME, name="Agent runtime", type="remote"))
    return {entry.id: Definition(entry, "configuration", None, trusted=True) for entry in entries.values()}


_SHIPPED = {entry["id"]: Definition(AgentEntry(**entry), "shipped", None, trusted=True) for entry in SHIPPED}


def shipped_agents(tenant_slug: str = DEFAULT_TENANT) -> dict[str, Definition]:
    """Returns the shipped agents that a tenant has."""
    return _SHIPPED if tenant_slug == DEFAULT_TENANT else {}


def definition_of(row: Agent) -> Definition:
    """Returns a row as a definition."""
    entry = AgentEntry(
        **{
            **row.entry,
            "id": row.public_id,
            "name": row.name,
            "type": row.type,
            "endpoint": row.endpoint,
            "model": row.model or None,
            "system_prompt": row.system_prompt,
            "tools": row.tools,
            "capabilities": row.capabilities,
            "timeout": row.timeout,
            "enabled": row.enabled,
        }
    )
    source: Source = "configuration" if row.tenant_id is None else "tenant"
    return Definition(entry, source, row.tenant_id, row.trusted)


def definitions(tenant: TenantRef) -> dict[str, Definition]:
    """Returns the agents that a tenant can use, by id."""
    rows = Agent.objects.filter(Q(tenant_id=tenant.tenant_id) | Q(tenant__isnull=True))
    own, shared = _split(definition_of(row) for row in rows)
    found = {**shipped_agents(tenant.tenant_slug), **own, **shared, **configured_agents()}
    return {agent_id: definition for agent_id, definition in found.items() if definition.entry.enabled}


def definition_find(tenant: TenantRef, agent_id: str) -> Definition | None:
    """Returns the tenant's agent of this id, or None. Costs a query only for an id that the file does not have."""
    found = configured_agents().get(agent_id)
    if found is None:
        rows = Agent.objects.filter(Q(tenant_id=tenant.tenant_id) | Q(tenant__isnull=True), public_id=agent_id[:65])
        own, shared = _split(definition_of(row) for row in rows)
        found = {**shipped_agents(tenant.tenant_slug), **own, **shared}.get(agent_id)
    return found if found is not None and found.entry.enabled else None


def _split(found: Iterable[Definition]) -> tuple[dict[str, Definition], dict[str, Definition]]:
    own: dict[str, Definition] = {}
    shared: dict[str, Definition] = {}
    for definition in found:
        (shared if definition.tenant_id is None else own)[definition.id] = definition
    return own, shared
