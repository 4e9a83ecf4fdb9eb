"""Keys between the gateway and agent runtimes (`GATEWAY__INTERNAL_API_KEY`).

Each entry is `key` for the tenant `default`, `key:tenant-slug`, or `key:*`, which may act for every tenant. The gateway
proves itself to a runtime with the key of the session's tenant, and a runtime names its tenant by the key it sends.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from tenants_app.principal import DEFAULT_TENANT

EVERY_TENANT = "*"


@dataclass(frozen=True, slots=True)
class InternalKey:
    """One entry. `tenant` is a slug or EVERY_TENANT."""

    key: str
    tenant: str


def internal_keys() -> tuple[InternalKey, ...]:
    """Returns the entries in their order. Empty: no runtime may call, and none is sent a key."""
    entries = (entry.strip().partition(":") for entry in settings.GATEWAY_INTERNAL_API_KEY)
    return tuple(
        InternalKey(key.strip(), tenant.strip() or DEFAULT_TENANT) for key, _, tenant in entries if key.strip()
    )


def internal_key_for(tenant_slug: str) -> str | None:
    """Returns the key that a runtime is sent for a session of this tenant: its first, else the first of all tenants."""
    keys = internal_keys()
    own = next((entry.key for entry in keys if entry.tenant == tenant_slug), None)
    return own or next((entry.key for entry in keys if entry.tenant == EVERY_TENANT), None)
