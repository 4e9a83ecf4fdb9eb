"""Who is asking: the frozen value that DRF views, consumers and services share.

It is made from an API key (or a user of the console) by `tenants_app.authentication` and is good for one request;
long-lived connections have it made anew at every heartbeat. Scopes are the contract's ("Keys, limits, errors").
"""

from __future__ import annotations

from dataclasses import dataclass

from core_app.errors import Forbidden

SESSIONS = "sessions"
APPROVALS = "approvals"
INFERENCE = "inference"
TASKS = "tasks"
AGENTS_READ = "agents:read"
AGENTS_WRITE = "agents:write"
OPERATOR = "operator"
ADMIN = "admin"
PLATFORM = "platform"

SCOPES = (SESSIONS, APPROVALS, INFERENCE, TASKS, AGENTS_READ, AGENTS_WRITE, OPERATOR, ADMIN, PLATFORM)
TENANT_SCOPES = tuple(scope for scope in SCOPES if scope != PLATFORM)
"""Everything inside one tenant: what keys seeded for tenants other than `default` have."""

DEFAULT_TENANT = "default"


@dataclass(frozen=True, slots=True)
class Principal:
    """A tenant's API key (or user, then `key_id` is `None`) and what it may do. `rpm` 0 is without a limit."""

    tenant_id: int
    tenant_slug: str
    key_id: int | None
    key_name: str
    scopes: frozenset[str]
    rpm: int = 0
    approvals_in_sessions: bool = True
    user_id: int | None = None
    allow_private: bool = False
    default_model: str | None = None
    default_agent: str | None = None

    @property
    def actor(self) -> str:
        """The name that audit entries and events (`by`) carry."""
        return f"user:{self.key_name}" if self.key_id is None else f"key:{self.key_name}"

    def allows(self, scope: str) -> bool:
        """Whether `scope` is held; `sessions` includes `approvals` where the tenant says so."""
        if scope == APPROVALS and self.approvals_in_sessions and SESSIONS in self.scopes:
            return True
        return scope in self.scopes

    def require(self, scope: str) -> None:
        """Raises Forbidden, naming the scope, unless it is held."""
        if not self.allows(scope):
            raise Forbidden(f"This needs an API key with the scope '{scope}'.")


def seeded_scopes(tenant_slug: str) -> tuple[str, ...]:
    """What a key from GATEWAY_API_KEYS may do: all for tenant `default`, elsewhere all but `platform`."""
    return SCOPES if tenant_slug == DEFAULT_TENANT else TENANT_SCOPES
