"""Authentication: credentials of an HTTP request or WebSocket to a Principal.

`X-API-Key` takes precedence, then `Authorization: Bearer`, then, on WebSockets only, `?api_key=`. Sync functions query
the database in the calling thread; their `a…` counterparts use a thread only on a cache miss. Every invalid key gets
the same Unauthorized.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, MutableMapping
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs

from django.conf import settings
from django.db.models import Q

from core_app import clock, database
from core_app.errors import Unauthorized
from tenants_app.key_cache import KEY_CACHE, CachedLookup
from tenants_app.models import ApiKey, Tenant, User
from tenants_app.principal import Principal
from tenants_app.secret import is_well_formed, secret_hash

Scope = MutableMapping[str, Any]

_LAST_USED_STEP = timedelta(minutes=1)
"""Shortest interval between writes of `last_used_at`: it is only informative, and a write costs more than a request."""


def secret_from_scope(scope: Scope) -> str | None:
    """Returns the secret in an ASGI scope, or `None`."""
    headers: Mapping[bytes, bytes] = dict(reversed(scope.get("headers", ())))
    if secret := headers.get(b"x-api-key", b"").decode("latin-1").strip():
        return secret
    scheme, _, secret = headers.get(b"authorization", b"").decode("latin-1").strip().partition(" ")
    if scheme.lower() == "bearer" and secret.strip():
        return secret.strip()
    if scope["type"] == "websocket":
        return query_parameter(scope, "api_key")
    return None


def query_parameter(scope: Scope, name: str) -> str | None:
    """Returns the first non-empty value of `name` in the query string."""
    query = scope.get("query_string", b"").decode("latin-1")
    return next(iter(parse_qs(query).get(name, ())), None)


def principal_for_secret(secret: str | None) -> Principal:
    """Returns the secret's principal; raises Unauthorized for a missing or invalid key or a disabled tenant."""
    digest = _digest(secret)
    return _require_principal(*KEY_CACHE.get_or_load(digest, lambda: _load_by_hash(digest)))


async def aprincipal_for_secret(secret: str | None) -> Principal:
    """Does the same from the event loop; a cached key needs no thread."""
    if known := KEY_CACHE.get(_digest(secret)):
        return _require_principal(known, loaded=False)
    return await database.run(principal_for_secret, secret)


def principal_recheck(principal: Principal) -> Principal:
    """Returns the principal's current state, without scopes that it lacked (it may come from a narrower token).

    Raises Unauthorized when its key, user or tenant is no longer valid.
    """
    return _narrow(
        _require_principal(*KEY_CACHE.get_or_load(_identity(principal), lambda: _load_again(principal))), principal
    )


async def aprincipal_recheck(principal: Principal) -> Principal:
    """Does the same from the event loop, for heartbeats: one query per key and cache period for all followers."""
    if known := KEY_CACHE.get(_identity(principal)):
        return _narrow(_require_principal(known, loaded=False), principal)
    return await database.run(principal_recheck, principal)


def principal_for_user(user: User) -> Principal:
    """Returns a signed-in user's principal; raises Unauthorized unless user and tenant are active."""
    principal = _user_principal(user)
    if principal is None:
        raise Unauthorized("This user belongs to no tenant.")
    return principal


def _digest(secret: str | None) -> str:
    if not secret:
        raise Unauthorized("An API key is needed: send it as X-API-Key or as Authorization: Bearer.")
    if not is_well_formed(secret):
        raise _invalid_key()
    return secret_hash(secret)


def _identity(principal: Principal) -> str:
    if principal.key_id is not None:
        return f"key {principal.key_id}"
    return f"user {principal.user_id}" if principal.user_id is not None else repr(principal)


def _require_principal(known: CachedLookup, loaded: bool) -> Principal:
    if known.principal is None:
        raise _invalid_key()
    if loaded and known.principal.key_id is not None:
        _mark_used(known.principal.key_id)
    return known.principal


def _narrow(fresh: Principal, before: Principal) -> Principal:
    return replace(
        fresh,
        scopes=fresh.scopes & before.scopes,
        approvals_in_sessions=fresh.approvals_in_sessions and before.approvals_in_sessions,
    )


def _invalid_key() -> Unauthorized:
    return Unauthorized("The API key is not known, or no longer good.")


def _load_by_hash(digest: str) -> Principal | None:
    key = ApiKey.objects.select_related("tenant").filter(secret_hash=digest).first()
    if key is None or not hmac.compare_digest(key.secret_hash, digest):
        return None
    return _key_principal(key)


def _load_again(principal: Principal) -> Principal | None:
    if principal.key_id is not None:
        key = ApiKey.objects.select_related("tenant").filter(id=principal.key_id).first()
        return None if key is None else _key_principal(key)
    if principal.user_id is not None:
        user = User.objects.select_related("tenant").filter(id=principal.user_id).first()
        return None if user is None else _user_principal(user)
    good = Tenant.objects.filter(id=principal.tenant_id, disabled_at=None).exists()
    return principal if good else None


def _key_principal(key: ApiKey) -> Principal | None:
    if key.tenant.disabled_at is not None or not key.is_good(clock.now()):
        return None
    rpm = settings.GATEWAY_RATE_LIMIT_RPM if key.rpm is None else key.rpm
    return _principal(key.tenant, rpm, key_id=key.id, key_name=key.name, scopes=frozenset(key.scopes))


def _user_principal(user: User) -> Principal | None:
    tenant = user.tenant
    if tenant is None or tenant.disabled_at is not None or not user.is_active:
        return None
    rpm = settings.GATEWAY_RATE_LIMIT_RPM
    scopes = frozenset(user.scopes)
    return _principal(tenant, rpm, key_id=None, key_name=user.get_username(), scopes=scopes, user_id=user.id)


def _principal(tenant: Tenant, rpm: int, **identity: Any) -> Principal:
    return Principal(
        rpm=rpm,
        tenant_rpm=tenant.rpm_beside(rpm),
        tenant_id=tenant.id,
        tenant_slug=tenant.slug,
        approvals_in_sessions=tenant.approvals_in_sessions,
        allow_private=tenant.allow_private,
        default_model=tenant.default_model,
        default_agent=tenant.default_agent,
        **identity,
    )


def _mark_used(key_id: int) -> None:
    """Writes `last_used_at`. Runs outside the cache's locks: a writer waiting for those may hold the database's."""
    moment = clock.now()
    stale = Q(last_used_at=None) | Q(last_used_at__lt=moment - _LAST_USED_STEP)
    if ApiKey.objects.filter(stale, id=key_id).exists():
        with database.write_transaction():
            ApiKey.objects.filter(stale, id=key_id).update(last_used_at=moment)
