"""Services that create and change tenants."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError

from core_app import clock
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict
from core_app.jsontext import clean_text
from core_app.suggestion import suggestion
from tenants_app.jwt_issuers import jwt_setting_check
from tenants_app.models import Tenant
from tenants_app.models.account import SLUG
from tenants_app.services.audit import SYSTEM, audit_record
from tenants_app.services.key_cache_invalidate import keys_forget
from tenants_app.tenant_settings import SETTINGS, TENANT_SETTINGS, TenantSetting

_KIND_NAMES: Mapping[type, str] = {bool: "true or false", int: "a whole number", str: "text", dict: "an object"}


def tenant_create(
    *, slug: str, name: str = "", settings: Mapping[str, Any] | None = None, actor: str = SYSTEM
) -> Tenant:
    """Creates a tenant. Raises BadRequest for an invalid slug or setting, Conflict when the slug is taken."""
    slug_check(slug)
    settings_check(settings or {}, slug=slug)
    try:
        with write_transaction():
            tenant = Tenant.objects.create(slug=slug, name=name or slug, settings=dict(settings or {}))
            audit_record(actor=actor, action="tenant.create", target=slug, tenant_id=tenant.id)
            keys_forget()
    except IntegrityError:
        raise Conflict(f"There is a tenant '{slug}' already.", field="slug") from None
    return tenant


def tenant_update(
    *,
    tenant: Tenant,
    name: str | None = None,
    settings: Mapping[str, Any] | None = None,
    disabled: bool | None = None,
    actor: str = SYSTEM,
) -> Tenant:
    """Changes the arguments that are not `None`. A disabled tenant's keys stop working at once in this process."""
    settings_check(settings or {}, tenant_id=tenant.id, slug=tenant.slug, stored=tenant.settings)
    with write_transaction():
        locked = Tenant.objects.select_for_update().get(id=tenant.id)
        locked.name = locked.name if name is None else name
        locked.settings = locked.settings if settings is None else dict(settings)
        if disabled is not None:
            locked.disabled_at = (locked.disabled_at or clock.now()) if disabled else None
        locked.save(update_fields=["name", "settings", "disabled_at"])
        detail = {"settings": locked.settings, "disabled": locked.disabled_at is not None}
        audit_record(actor=actor, action="tenant.update", target=locked.slug, tenant_id=locked.id, detail=detail)
        keys_forget()
    return locked


def slug_check(slug: str) -> None:
    """Raises BadRequest unless `slug` is valid."""
    try:
        SLUG(slug)
    except ValidationError as error:
        raise BadRequest(str(error.message), field="slug") from None


def settings_check(
    settings: Mapping[str, Any],
    *,
    tenant_id: int | None = None,
    slug: str = "",
    stored: Mapping[str, Any] | None = None,
) -> None:
    """Raises BadRequest naming a setting that is not known or has a value of the wrong type, and Conflict for an issuer
    that serves another tenant without telling them apart; `None` means "not set".

    An unknown setting that is `stored` already may stay: a newer version of the gateway wrote it.
    """
    if unknown := next((name for name in settings if name not in SETTINGS and name not in (stored or {})), None):
        name = clean_text(str(unknown))[:100]
        raise BadRequest(
            f"'{name}' is not a setting of tenants.{suggestion(name, SETTINGS)} There are: {', '.join(SETTINGS)}.",
            field=f"settings.{name}",
        )
    for setting in TENANT_SETTINGS:
        if (value := settings.get(setting.name)) is not None:
            _value_check(setting, value)
    if settings.get("jwt") is not None:
        jwt_setting_check(settings["jwt"], tenant_id=tenant_id, slug=slug)


def _value_check(setting: TenantSetting, value: Any) -> None:
    name, field = setting.name, f"settings.{setting.name}"
    # `True` is an int to Python.
    if not isinstance(value, setting.kind) or (setting.kind is int and isinstance(value, bool)):
        raise BadRequest(f"The tenant's setting '{name}' must be {_KIND_NAMES[setting.kind]}.", field=field)
    size = value if isinstance(value, int) else len(value) if isinstance(value, str) else 0
    if size < 0:
        raise BadRequest(f"The tenant's setting '{name}' is negative; 0 means no limit.", field=field)
    if size > setting.most:
        raise BadRequest(
            f"The tenant's setting '{name}' {'is' if setting.kind is int else 'has'} at most {setting.most}"
            f"{'' if setting.kind is int else ' characters'}.",
            field=field,
        )
