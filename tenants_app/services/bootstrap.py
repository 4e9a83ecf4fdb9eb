"""Key setup at start: seeds the keys of GATEWAY_API_KEYS or creates the first one, and creates the administrator.

Several processes may start at once, so each locks the row of tenant `default` before it looks for existing keys.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.models import Q

from core_app import clock
from core_app.database import write_transaction
from core_app.errors import BadRequest
from tenants_app.models import ApiKey, Tenant, User
from tenants_app.principal import APPROVALS, DEFAULT_TENANT, SCOPES, SESSIONS, seeded_scopes
from tenants_app.secret import is_well_formed, secret_hash, secret_prefix
from tenants_app.services.api_key import api_key_issue
from tenants_app.services.audit import SYSTEM, audit_record
from tenants_app.services.key_cache_invalidate import keys_forget
from tenants_app.services.tenant import slug_check

ADMIN_USER = "admin"
GATEWAY_USER = "gateway"
"""The user of clients that know only a password (GATEWAY_PASSWORD)."""

SEEDED_NAME = "GATEWAY_API_KEYS"


@dataclass(frozen=True, slots=True)
class FirstStart:
    """The first start's secrets, to be shown once. `api_key` is `None` when keys are set or exist, `admin_password`
    when somebody administers the gateway already."""

    tenant_slug: str
    api_key: str | None
    admin_username: str
    admin_password: str | None

    def __repr__(self) -> str:
        return f"FirstStart({self.tenant_slug})"


def keys_seed(entries: Iterable[str]) -> None:
    """Makes `entries` (`key` or `key:tenant-slug`) the only seeded keys.

    Creates missing tenants, revokes keys that are no longer listed, and restores keys that are listed again. Raises
    ImproperlyConfigured, without the key in its text, for an invalid entry.
    """
    wanted = _parse_entries(entries)
    with write_transaction():
        _lock_default_tenant()
        for secret, slug in wanted.items():
            _seed(secret, slug)
        hashes = [secret_hash(secret) for secret in wanted]
        gone = ApiKey.objects.filter(seeded=True, revoked_at=None).exclude(secret_hash__in=hashes)
        for key in gone:
            audit_record(actor=SYSTEM, action="api_key.revoke", target=_target(key), tenant_id=key.tenant_id)
        gone.update(revoked_at=clock.now())
        keys_forget()


def bootstrap_first_start() -> FirstStart | None:
    """Creates a key with all scopes, unless keys are set or exist, and a user `admin`, unless there is a superuser;
    returns `None` when it created nothing."""
    if not _lacks_key() and not _lacks_administrator():
        return None
    with write_transaction():
        tenant = _lock_default_tenant()
        # Of several processes that start at once the first one creates both.
        key = api_key_issue(tenant=tenant, name="first key", scopes=SCOPES).secret if _lacks_key() else None
        password = _create_administrator(tenant) if _lacks_administrator() else None
    return None if key is None and password is None else FirstStart(tenant.slug, key, ADMIN_USER, password)


def _lacks_key() -> bool:
    return not settings.GATEWAY_API_KEYS and not ApiKey.objects.exists()


def _lacks_administrator() -> bool:
    """Returns True without a superuser. A user `admin` who is none was made so by somebody."""
    return not User.objects.filter(Q(is_superuser=True) | Q(username=ADMIN_USER)).exists()


def gateway_user_ensure() -> None:
    """Makes the user `gateway` of tenant `default` with the password of GATEWAY_PASSWORD; without the setting its
    password stops working. It is no administrator: what it may do is its scopes, which the admin can change."""
    password = settings.GATEWAY_PASSWORD
    known = User.objects.filter(username=GATEWAY_USER).first()
    if not password:
        if known is not None and known.has_usable_password():
            with write_transaction():
                known.set_unusable_password()
                known.save(update_fields=["password"])
                keys_forget()
        return
    if known is not None and known.check_password(password):
        return
    with write_transaction():
        tenant = _lock_default_tenant()
        defaults = {"tenant": tenant, "scopes": [SESSIONS, APPROVALS]}
        user, created = User.objects.get_or_create(username=GATEWAY_USER, defaults=defaults)
        user.set_password(password)
        user.save(update_fields=["password"])
        action = "user.create" if created else "user.password"
        audit_record(actor=SYSTEM, action=action, target=GATEWAY_USER, tenant_id=tenant.id)
        keys_forget()


def _parse_entries(entries: Iterable[str]) -> dict[str, str]:
    wanted: dict[str, str] = {}
    for number, entry in enumerate(filter(None, (entry.strip() for entry in entries)), start=1):
        secret, _, slug = entry.partition(":")
        slug = slug or DEFAULT_TENANT
        if not is_well_formed(secret):
            raise ImproperlyConfigured(f"GATEWAY_API_KEYS: key number {number} is not 1 to 256 visible characters.")
        try:
            slug_check(slug)
        except BadRequest as error:
            raise ImproperlyConfigured(f"GATEWAY_API_KEYS: tenant of key number {number}: {error.message}") from None
        if wanted.setdefault(secret, slug) != slug:
            raise ImproperlyConfigured(f"GATEWAY_API_KEYS: key number {number} is listed for two tenants.")
    return wanted


def _seed(secret: str, slug: str) -> None:
    tenant, _ = Tenant.objects.get_or_create(slug=slug, defaults={"name": slug})
    values = {"tenant": tenant, "scopes": list(seeded_scopes(slug)), "seeded": True, "revoked_at": None}
    created = {**values, "name": SEEDED_NAME, "prefix": secret_prefix(secret)}
    digest = secret_hash(secret)
    before = ApiKey.objects.filter(secret_hash=digest).first()
    if before is not None and all(getattr(before, name) == value for name, value in values.items()):
        return
    key, _ = ApiKey.objects.update_or_create(secret_hash=digest, defaults=values, create_defaults=created)
    audit_record(actor=SYSTEM, action="api_key.seed", target=_target(key), tenant_id=tenant.id)


def _lock_default_tenant() -> Tenant:
    Tenant.objects.get_or_create(slug=DEFAULT_TENANT, defaults={"name": "Default"})
    return Tenant.objects.select_for_update().get(slug=DEFAULT_TENANT)


def _create_administrator(tenant: Tenant) -> str:
    password = secrets.token_urlsafe(15)
    User.objects.create_superuser(ADMIN_USER, password=password, tenant=tenant, scopes=list(SCOPES))
    audit_record(actor=SYSTEM, action="user.create", target=ADMIN_USER, tenant_id=tenant.id)
    return password


def _target(key: ApiKey) -> str:
    return f"{key.name} ({key.prefix})"
