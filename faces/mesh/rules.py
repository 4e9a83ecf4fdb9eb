"""The rules in force for a tenant: its own ones from the admin, and `routing` of the configuration file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from django.db.models import Q
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from core_app.config_file import Section
from core_app.lifecycle import process_wide
from faces.mesh.models import RoutingRule
from faces.mesh.routing import Rule
from tenants_app.principal import Principal

MAX_KEYWORDS = 200


class RuleEntry(BaseModel):
    """An entry of `routing.rules`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(default="", max_length=100)
    keywords: tuple[str, ...] = Field(min_length=1, max_length=MAX_KEYWORDS)
    agent: str | None = None
    agents: tuple[str, ...] = ()
    strategy: Literal["direct", "broadcast"] = "direct"
    priority: int = 0

    @model_validator(mode="after")
    def _check_agents(self) -> RuleEntry:
        if (self.agent is None) == (not self.agents):
            raise ValueError("a rule names either 'agent' or 'agents'")
        return self

    def rule(self) -> Rule:
        """Returns the rule as routing takes it."""
        agents = self.agents if self.agent is None else (self.agent,)
        return Rule(self.name, self.keywords, agents, self.strategy == "broadcast", self.priority)


class RoutingEntry(BaseModel):
    """The section `routing`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    default_agent: str | None = Field(default=None, validation_alias=AliasChoices("default_agent", "defaultAgent"))
    rules: tuple[RuleEntry, ...] = ()


_ENTRY: TypeAdapter[RoutingEntry] = TypeAdapter(RoutingEntry)


def _parse(section: Any) -> RoutingEntry:
    return _ENTRY.validate_python(section or {})


ROUTING: Section[RoutingEntry] = process_wide(Section("routing", _parse, RoutingEntry), reset=Section.forget)


@dataclass(frozen=True, slots=True)
class RoutingTable:
    """The rules of a tenant, those of equal priority in the order in which they are tried, and the default agent."""

    rules: tuple[Rule, ...]
    default: str | None


def routing_table(principal: Principal) -> RoutingTable:
    """Returns what is in force for the tenant now. The tenant's own default agent comes before the configured one."""
    configured = ROUTING.get()
    rows = RoutingRule.objects.filter(Q(tenant_id=principal.tenant_id) | Q(tenant=None), enabled=True)
    own = [
        Rule(row.name, tuple(row.keywords), tuple(row.agents), row.broadcast, row.priority)
        for row in rows.order_by("tenant_id", "pk")
    ]
    rules = (*own, *(entry.rule() for entry in configured.rules))
    return RoutingTable(rules, principal.default_agent or configured.default_agent)
