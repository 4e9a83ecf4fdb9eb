"""Keys between services (GATEWAY_INTERNAL_API_KEY): agent runtimes show one to the gateway, and the gateway to them.

An entry is `key` (tenant `default`), `key:tenant-slug`, or `key:*` for every tenant. There is no default key: without
an entry nobody is let in.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator

from django.conf import settings

from core_app.errors import NotFound, Unauthorized
from tenants_app.authentication import principal_for_guest
from tenants_app.models import Tenant
from tenants_app.principal import DEFAULT_TENANT, SESSIONS, Principal

EVERY_TENANT = "*"


def internal_keys_exist() -> bool:
    """True when the operator has set a key."""
    return any(True for _ in _entries())


def internal_principal(secret: str, slug: str | None) -> Principal:
    """Returns the service that shows a key, as a guest of the tenant `slug`, or of the key's own tenant without one.

    Raises Unauthorized for a wrong key, and NotFound for a tenant that the key is not listed for.
    """
    tenants = internal_tenants(secret)
    if not tenants:
        raise Unauthorized("The key is not in GATEWAY_INTERNAL_API_KEY.")
    if slug is None:
        slug = next((name for name in tenants if name != EVERY_TENANT), None)
    elif slug not in tenants and EVERY_TENANT not in tenants:
        slug = None
    tenant = None if slug is None else Tenant.objects.filter(slug=slug).first()
    scopes = frozenset({SESSIONS})
    principal = None
    if tenant is not None:
        principal = principal_for_guest(tenant, guest="service", name="runtime", scopes=scopes)
    if principal is None:
        raise NotFound("The key has no such tenant.")
    return principal


def internal_tenants(secret: str) -> list[str]:
    """Returns the tenants that a key is listed for; none for a wrong key. Every entry is compared, in constant time."""
    shown = secret.encode("utf-8", "surrogatepass")
    found = [(hmac.compare_digest(key.encode(), shown), tenant) for key, tenant in _entries()]
    return [tenant for same, tenant in found if same]


def internal_key_for(slug: str) -> str | None:
    """Returns the key that the gateway shows to a runtime for a tenant: the first one listed for it, else the first one
    for every tenant."""
    keys = {tenant: key for key, tenant in reversed(list(_entries()))}
    return keys.get(slug) or keys.get(EVERY_TENANT)


def _entries() -> Iterator[tuple[str, str]]:
    for entry in settings.GATEWAY_INTERNAL_API_KEY:
        key, _, tenant = entry.strip().partition(":")
        if key:
            yield key, tenant.strip() or DEFAULT_TENANT
