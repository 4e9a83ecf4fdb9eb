"""The settings of tenants: name, type and meaning of each, for the service, the admin's form and the API's document.

A tenant without a setting has the gateway's default. docs/configuration.md has the same table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

MAX_DAYS = 36_500
"""A century; a moment that is further away than the calendar goes cannot be computed."""

MAX_NUMBER = 1_000_000_000
MAX_TEXT = 200


@dataclass(frozen=True, slots=True)
class TenantSetting:
    """A setting. `kind` is bool, int (0 or more), str or dict; `default` says what holds without it."""

    name: str
    kind: type
    group: str
    meaning: str
    default: str

    @property
    def most(self) -> int:
        """The largest number, or the most characters of a text."""
        if self.kind is int:
            return MAX_DAYS if self.name.endswith("_days") else MAX_NUMBER
        return MAX_TEXT

    @property
    def help(self) -> str:
        """The meaning and the default, as sentences."""
        return f"{self.meaning} Without it: {self.default}."


TENANT_SETTINGS: Sequence[TenantSetting] = (
    TenantSetting(
        "default_model", str, "Defaults", "Model of requests that name neither model nor agent.", "the gateway's"
    ),
    TenantSetting(
        "default_agent",
        str,
        "Defaults",
        "Agent of requests that name neither model nor agent; takes precedence over the default model.",
        "the gateway's",
    ),
    TenantSetting(
        "rpm",
        int,
        "Limits",
        "Requests and prompts per minute of all keys together; 0 means no limit.",
        "GATEWAY_TENANT_RATE_LIMIT_RPM",
    ),
    TenantSetting("max_sessions", int, "Limits", "Open sessions; 0 means no limit.", "GATEWAY_MAX_SESSIONS_PER_TENANT"),
    TenantSetting("max_waiting", int, "Limits", "Waiting runs; 0 means no limit.", "GATEWAY_MAX_WAITING_PER_TENANT"),
    TenantSetting(
        "approvals_in_sessions",
        bool,
        "Permissions",
        "Keys with the scope sessions may also decide on approvals.",
        "yes",
    ),
    TenantSetting(
        "allow_private", bool, "Permissions", "Callbacks and webhooks may use private addresses and plain http.", "no"
    ),
    TenantSetting(
        "jwt",
        dict,
        "Permissions",
        "The tenant's issuer of tokens: docs/configuration.md, “Tokens of an issuer”.",
        "none",
    ),
    TenantSetting(
        "retention_sessions_days",
        int,
        "Retention",
        "Days after which ended sessions are removed; 0 keeps them.",
        "GATEWAY_RETENTION_SESSIONS_DAYS",
    ),
    TenantSetting(
        "retention_events_days",
        int,
        "Retention",
        "Days after which events of ended runs are removed; 0 keeps them.",
        "GATEWAY_RETENTION_EVENTS_DAYS",
    ),
    TenantSetting(
        "retention_ledger_days",
        int,
        "Retention",
        "Days after which ledger entries are removed; 0 keeps them.",
        "GATEWAY_RETENTION_LEDGER_DAYS",
    ),
    TenantSetting(
        "retention_audit_days",
        int,
        "Retention",
        "Days after which audit entries are removed; 0 keeps them.",
        "GATEWAY_RETENTION_AUDIT_DAYS",
    ),
    TenantSetting(
        "retention_responses_days",
        int,
        "Retention",
        "Days after which stored responses are removed; 0 keeps them.",
        "GATEWAY_RETENTION_RESPONSES_DAYS",
    ),
    TenantSetting(
        "store_responses",
        bool,
        "Retention",
        "Responses that do not say themselves whether they are stored are stored.",
        "GATEWAY_STORE_RESPONSES",
    ),
)

SETTINGS: Mapping[str, type] = {setting.name: setting.kind for setting in TENANT_SETTINGS}
"""The type of each setting that this version reads."""
