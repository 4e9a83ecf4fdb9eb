"""Queries of API keys, for the people and programs of their tenant."""

from __future__ import annotations

from typing import Any

from core_app import clock
from core_app.errors import NotFound
from tenants_app.models import ApiKey
from tenants_app.principal import Principal


def api_keys_page(principal: Principal, *, before: int | None, limit: int) -> tuple[list[ApiKey], int | None]:
    """Returns the tenant's keys, the newest first, revoked ones too, and the cursor of the next page."""
    rows = ApiKey.objects.filter(tenant_id=principal.tenant_id)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows.order_by("-pk")[: limit + 1])
    return found[:limit], found[limit - 1].pk if len(found) > limit else None


def api_key_get(principal: Principal, key_id: str) -> ApiKey:
    """Returns a key of the tenant by its id on the wire. Raises NotFound."""
    number = int(key_id) if key_id.isascii() and key_id.isdecimal() and len(key_id) < 19 else 0
    key = ApiKey.objects.select_related("tenant").filter(tenant_id=principal.tenant_id, pk=number).first()
    if key is None:
        raise NotFound("There is no such key.")
    return key


def api_key_to_wire(key: ApiKey) -> dict[str, Any]:
    """Returns a key as clients see it, without its secret, which is not stored."""
    moment = clock.now()
    state = "revoked" if key.revoked_at is not None else "active" if key.is_good(moment) else "expired"
    return {
        "id": str(key.pk),
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "rpm": key.rpm,
        "state": state,
        "seeded": key.seeded,
        "createdAt": clock.iso_ms(key.created_at),
        "expiresAt": None if key.expires_at is None else clock.iso_ms(key.expires_at),
        "revokedAt": None if key.revoked_at is None else clock.iso_ms(key.revoked_at),
        "lastUsedAt": None if key.last_used_at is None else clock.iso_ms(key.last_used_at),
    }
