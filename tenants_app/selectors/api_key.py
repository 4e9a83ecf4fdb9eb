"""Queries of API keys, and keys as clients of every face see them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet

from core_app import clock
from core_app.errors import NotFound
from tenants_app.models import ApiKey
from tenants_app.principal import Principal

KEY_STATES = ("active", "expired", "revoked")

_ID = "key_"
_MAX_DIGITS = 18


def api_keys_page(principal: Principal, *, before: int | None, limit: int) -> tuple[list[ApiKey], int | None]:
    """Returns the tenant's keys, the newest first, revoked ones too, and the cursor of the next page."""
    rows = ApiKey.objects.filter(tenant_id=principal.tenant_id)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    found = list(rows.order_by("-pk")[: limit + 1])
    return found[:limit], found[limit - 1].pk if len(found) > limit else None


def api_key_get(principal: Principal, key_id: str) -> ApiKey:
    """Returns a key of the tenant by its id on the wire. Raises NotFound."""
    rows = ApiKey.objects.select_related("tenant").filter(tenant_id=principal.tenant_id)
    key = rows.filter(pk=api_key_pk(key_id)).first()
    if key is None:
        raise NotFound("There is no key with that id.")
    return key


def api_key_id(key_pk: int) -> str:
    """Returns the id of a key on the wire; it stays when the secret and its prefix are rotated."""
    return f"{_ID}{key_pk}"


def api_key_pk(key_id: str) -> int:
    """Returns the row that an id names. Raises NotFound for a text that is no id."""
    digits = key_id.removeprefix(_ID)
    if not key_id.startswith(_ID) or not digits.isascii() or not digits.isdigit() or len(digits) > _MAX_DIGITS:
        raise NotFound("There is no key with that id.")
    return int(digits)


def api_key_state(key: ApiKey) -> str:
    """Returns one of KEY_STATES."""
    if key.revoked_at is not None:
        return "revoked"
    return "active" if key.is_good(clock.now()) else "expired"


def keys_in_state(keys: QuerySet[ApiKey], state: str, moment: datetime) -> QuerySet[ApiKey]:
    """Returns those of the keys that are in one of KEY_STATES at `moment`; all of them for another text."""
    wanted = {
        "active": Q(revoked_at=None) & (Q(expires_at=None) | Q(expires_at__gt=moment)),
        "expired": Q(revoked_at=None, expires_at__lte=moment),
        "revoked": Q(revoked_at__isnull=False),
    }
    return keys.filter(wanted.get(state, Q()))


def api_key_to_wire(key: ApiKey) -> dict[str, Any]:
    """Returns a key as clients see it, without its secret, which is not stored."""
    return {
        "id": api_key_id(key.pk),
        "name": key.name,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "rpm": key.rpm,
        "state": api_key_state(key),
        "seeded": key.seeded,
        "createdAt": clock.iso_ms(key.created_at),
        "expiresAt": None if key.expires_at is None else clock.iso_ms(key.expires_at),
        "revokedAt": None if key.revoked_at is None else clock.iso_ms(key.revoked_at),
        "lastUsedAt": None if key.last_used_at is None else clock.iso_ms(key.last_used_at),
    }
