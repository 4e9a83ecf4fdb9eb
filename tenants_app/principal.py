"""The authenticated caller of a request, as views, consumers and services see it.

`tenants_app.authentication` builds a principal from an API key or a console user. It is valid for one request;
long-lived connections check it again at every heartbeat. The scopes are the constants below.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from core_app.errors import Forbidden

SESSIONS = "sessions"
SESSIONS_READ = "sessions:read"
QUESTIONS = "questions"
APPROVALS = "approvals"
INFERENCE = "inference"
TASKS = "tasks"
TASKS_READ = "tasks:read"
AGENTS_READ = "agents:read"
AGENTS_WRITE = "agents:write"
USAGE_READ = "usage:read"
WEBHOOKS = "webhooks"
OPERATOR = "operator"
ADMIN = "admin"
PLATFORM = "platform"
DEVICE = "device"
TAILSCALE_USER = "tailscale_user"

SCOPES = (
    SESSIONS,
    SESSIONS_READ,
    QUESTIONS,
    APPROVALS,
    INFERENCE,
    TASKS,
    TASKS_READ,
    AGENTS_READ,
    AGENTS_WRITE,
    USAGE_READ,
    WEBHOOKS,
    OPERATOR,
    ADMIN,
    PLATFORM,
)
TENANT_SCOPES = tuple(scope for scope in SCOPES if scope != PLATFORM)
"""All scopes within one tenant; keys seeded for tenants other than `default` have these."""

IDENTITY_SCOPES = (DEVICE, TAILSCALE_USER)
"""Scopes that come with the way in which a caller signed in. No key has them."""

INCLUDED_IN: Mapping[str, tuple[str, ...]] = {
    SESSIONS: (TAILSCALE_USER,),
    SESSIONS_READ: (SESSIONS, TAILSCALE_USER),
    QUESTIONS: (SESSIONS, TAILSCALE_USER),
    TASKS_READ: (TASKS,),
    USAGE_READ: (OPERATOR,),
    WEBHOOKS: (ADMIN,),
}
"""Scopes by the wider ones that include them; keys that were issued before the narrow ones existed keep what they
may do."""

DEFAULT_TENANT = "default"

EMBED_GUEST = "embed"
"""Vouches for the end users of embedded chats: the server of their tenant."""

JWT_GUEST = "jwt"
"""Vouches for the holders of tokens of an issuer: the issuer."""


@dataclass(frozen=True, slots=True)
class Principal:
    """A tenant's API key, or (then `key_id` is `None`) a user, a device or a guest, with its scopes.

    `rpm` is its rate limit, `tenant_rpm` that of the tenant's keys together; 0 means no limit. A guest has no row here,
    because somebody else vouches for it; `guest` says who, and `key_name` is its name there.
    """

    tenant_id: int
    tenant_slug: str
    key_id: int | None
    key_name: str
    scopes: frozenset[str]
    rpm: int = 0
    tenant_rpm: int = 0
    approvals_in_sessions: bool = True
    user_id: int | None = None
    device_id: int | None = None
    """The row of the device, which is not the id that the device has picked."""

    guest: str = ""
    allow_private: bool = False
    expires_at: float | None = None
    """Seconds since the epoch at which a guest's credential ends; None where something else ends it."""

    end_user: str | None = None
    """The person that a token was issued for; prompts are theirs, whatever a client says. None: the client says."""

    stores_responses: bool | None = None
    """Whether responses are stored that do not say so themselves. None: GATEWAY_STORE_RESPONSES decides."""

    default_model: str | None = None
    default_agent: str | None = None
    embed_id: int | None = None
    """The row of the token of an embedded chat."""

    browser_session: str | None = field(default=None, repr=False)
    """The key of the Django session that a signed-in person's browser showed; it is a credential, and only compared."""

    @property
    def actor(self) -> str:
        """The name in audit entries and in the `by` of events."""
        if self.key_id is not None:
            return f"key:{self.key_name}"
        if self.device_id is not None:
            return f"device:{self.key_name}"
        return f"{self.guest or 'user'}:{self.key_name}"

    def allows(self, scope: str) -> bool:
        """True when the principal has `scope`, or one that includes it (INCLUDED_IN); `sessions` includes `approvals`
        where the tenant's settings allow it."""
        if scope in self.scopes:
            return True
        if scope == APPROVALS:
            return self.approvals_in_sessions and SESSIONS in self.scopes
        return any(wider in self.scopes for wider in INCLUDED_IN.get(scope, ()))

    @property
    def held(self) -> frozenset[str]:
        """The scopes with those that they include, but for `approvals`: what the principal may grant, or keep when it
        is narrowed."""
        return with_included(self.scopes)

    def require(self, scope: str) -> None:
        """Raises Forbidden, naming the scope, unless the principal has it."""
        if not self.allows(scope):
            raise Forbidden(f"This needs an API key with the scope '{scope}'.")


def with_included(scopes: frozenset[str]) -> frozenset[str]:
    """Returns scopes together with those that they include."""
    return scopes | {narrow for narrow, wider in INCLUDED_IN.items() if not scopes.isdisjoint(wider)}


def seeded_scopes(tenant_slug: str) -> tuple[str, ...]:
    """The scopes of a key from GATEWAY_API_KEYS: all for tenant `default`, all but `platform` for others."""
    return SCOPES if tenant_slug == DEFAULT_TENANT else TENANT_SCOPES
