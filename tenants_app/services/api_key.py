"""Services that issue, change, rotate and revoke API keys.

A secret leaves this module once, in its `IssuedKey`; the database stores its hash. `by` is the person who acts: nobody
grants scopes or a rate that they lack, or touches a key that has more scopes than they. Without `by` the gateway or its
command line acts, under the name `actor`, and may do everything.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.conf import settings

from core_app import clock
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict, Forbidden
from core_app.jsontext import clean_text
from tenants_app.models import ApiKey, Tenant
from tenants_app.principal import SCOPES, Principal
from tenants_app.secret import secret_hash, secret_new, secret_prefix
from tenants_app.services.audit import SYSTEM, audit_record
from tenants_app.services.key_cache_invalidate import keys_forget


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key and its secret, which cannot be shown again."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        return f"IssuedKey({self.key})"


def api_key_issue(
    *,
    tenant: Tenant,
    name: str,
    scopes: Iterable[str],
    rpm: int | None = None,
    expires_at: datetime | None = None,
    actor: str = SYSTEM,
    by: Principal | None = None,
) -> IssuedKey:
    """Creates a key of `tenant`. Raises BadRequest for an unknown scope, an empty name or an expiry in the past, and
    Forbidden for what `by` may not grant."""
    granted = scopes_check(scopes)
    if by is not None:
        _scopes_grant_check(by, granted)
        _rate_grant_check(by, rpm, by.rpm)
    name = _name_check(name)
    if expires_at is not None and expires_at <= clock.now():
        raise BadRequest("The key would have expired already.", field="expiresAt")
    secret = secret_new()
    with write_transaction():
        key = ApiKey.objects.create(
            tenant=tenant,
            name=name,
            prefix=secret_prefix(secret),
            secret_hash=secret_hash(secret),
            scopes=granted,
            rpm=rpm,
            expires_at=expires_at,
        )
        _audit(key, "api_key.issue", _name_of(by, actor), {"scopes": granted, "rpm": rpm})
        keys_forget()
    return IssuedKey(key, secret)


def api_key_update(
    *,
    key: ApiKey,
    name: str,
    scopes: Iterable[str],
    rpm: int | None,
    expires_at: datetime | None,
    actor: str = SYSTEM,
    by: Principal | None = None,
) -> ApiKey:
    """Changes a key's name, scopes, rate limit and expiry. Its secret and tenant cannot be changed here. A person with
    a rate limit may lower a key's and not raise it."""
    granted = scopes_check(scopes)
    name = _name_check(name)
    with write_transaction():
        locked = ApiKey.objects.select_for_update().get(id=key.id)
        if by is not None:
            _holder_check(by, locked)
            _scopes_grant_check(by, granted)
            _rate_grant_check(by, rpm, effective_rpm(locked.rpm))
        locked.name, locked.scopes, locked.rpm, locked.expires_at = name, granted, rpm, expires_at
        locked.save(update_fields=["name", "scopes", "rpm", "expires_at"])
        _audit(locked, "api_key.update", _name_of(by, actor), {"scopes": granted, "rpm": rpm})
        keys_forget()
    return locked


def api_key_rotate(*, key: ApiKey, actor: str = SYSTEM, by: Principal | None = None) -> IssuedKey:
    """Replaces the key's secret; the old one stops at once. Raises Conflict for a revoked or a seeded key."""
    secret = secret_new()
    with write_transaction():
        locked = ApiKey.objects.select_for_update().get(id=key.id)
        if by is not None:
            _holder_check(by, locked)
        if locked.seeded:
            raise Conflict("The key comes from GATEWAY_API_KEYS: change it there.")
        if locked.revoked_at is not None:
            raise Conflict("The key is revoked: issue a new one.")
        locked.prefix, locked.secret_hash = secret_prefix(secret), secret_hash(secret)
        locked.save(update_fields=["prefix", "secret_hash"])
        _audit(locked, "api_key.rotate", _name_of(by, actor), {"was": key.prefix})
        keys_forget()
    return IssuedKey(locked, secret)


def api_key_revoke(*, key: ApiKey, actor: str = SYSTEM, by: Principal | None = None) -> ApiKey:
    """Revokes the key: at once in this process, in others within GATEWAY_KEY_CACHE_SECONDS. Idempotent."""
    with write_transaction():
        if by is not None:
            _holder_check(by, ApiKey.objects.select_for_update().get(id=key.id))
        revoked = ApiKey.objects.filter(id=key.id, revoked_at=None).update(revoked_at=clock.now())
        if revoked:
            _audit(key, "api_key.revoke", _name_of(by, actor), {})
        keys_forget()
    key.refresh_from_db()
    return key


def scopes_check(scopes: Iterable[str]) -> list[str]:
    """Returns the scopes without duplicates, in the order of SCOPES; raises BadRequest naming an unknown one."""
    wanted = set(scopes)
    if unknown := sorted(wanted - set(SCOPES)):
        raise BadRequest(f"There is no scope '{clean_text(unknown[0])}'.", field="scopes")
    return [scope for scope in SCOPES if scope in wanted]


def effective_rpm(rpm: int | None) -> int:
    """Returns the limit that a key's `rpm` stands for: `None` is the gateway's default. 0 means no limit."""
    return settings.GATEWAY_RATE_LIMIT_RPM if rpm is None else rpm


def _holder_check(by: Principal, key: ApiKey) -> None:
    """Raises Forbidden unless `by` has all scopes of the key and belongs to its tenant."""
    if key.tenant_id != by.tenant_id or not set(key.scopes) <= by.held:
        raise Forbidden(f"{key.name} may do more than you.")


def _scopes_grant_check(by: Principal, scopes: Iterable[str]) -> None:
    if missing := [scope for scope in scopes if scope not in by.held]:
        raise Forbidden(f"You lack the scope '{missing[0]}', so you cannot grant it.", field="scopes")


def _rate_grant_check(by: Principal, rpm: int | None, ceiling: int) -> None:
    """Raises Forbidden for a rate above `ceiling`, unless `by` has no limit. 0 means no limit, which is above all."""
    wanted = effective_rpm(rpm)
    if by.rpm > 0 and ceiling > 0 and not 0 < wanted <= ceiling:
        raise Forbidden(f"You may set at most {ceiling} requests per minute; an operator can set more.", field="rpm")


def _name_of(by: Principal | None, actor: str) -> str:
    return actor if by is None else by.actor


def _name_check(name: str) -> str:
    name = clean_text(name).strip()
    if not 0 < len(name) <= 100:
        raise BadRequest("A key's name has 1 to 100 characters.", field="name")
    return name


def _audit(key: ApiKey, action: str, actor: str, detail: Mapping[str, Any]) -> None:
    audit_record(
        actor=actor, action=action, target=f"{key.name} ({key.prefix})", detail=detail, tenant_id=key.tenant_id
    )
