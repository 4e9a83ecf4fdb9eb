"""Services that register, revoke and recognise devices."""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.db import IntegrityError

from core_app import clock
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict, NotFound, Unauthorized
from core_app.jsontext import clean_text
from tenants_app.authentication import principal_for_device
from tenants_app.device_key import public_key_parse, signature_is_valid
from tenants_app.models import Device, Tenant
from tenants_app.principal import Principal
from tenants_app.services.audit import audit_record
from tenants_app.services.key_cache_invalidate import keys_forget

MAX_DEVICES = 1000
"""Devices of one tenant that are not revoked."""

MAX_NAMESAKES = 50
"""Devices of one id, each of another tenant, whose keys a sign-in tries; the oldest come first."""

_DEVICE_ID = re.compile(r"[!-~]{1,128}\Z")


def device_register(*, tenant: Tenant, device_id: str, public_key: str, actor: str) -> Device:
    """Registers a device. The same key again returns the device, and a revoked device with a new key starts anew.
    Raises BadRequest for a bad id or key, Conflict when the id has another key or the tenant has MAX_DEVICES."""
    if not _DEVICE_ID.match(device_id):
        raise BadRequest("'device_id' has 1 to 128 visible ASCII characters.", field="device_id")
    key = public_key_parse(public_key)
    try:
        with write_transaction():
            return _register(tenant, device_id, key, actor)
    except IntegrityError:
        raise Conflict(f"The device {device_id!r} is being registered.", field="device_id") from None


def _register(tenant: Tenant, device_id: str, key: str, actor: str) -> Device:
    known = Device.objects.select_for_update().filter(tenant=tenant, device_id=device_id).first()
    if known is not None and known.revoked_at is None:
        if known.public_key != key:
            raise Conflict(f"The device {device_id!r} has another key: revoke it first.", field="device_id")
        return known
    if known is not None and known.public_key == key:
        raise Conflict(f"This key of {device_id!r} is revoked: register a new one.", field="public_key")
    if Device.objects.filter(tenant=tenant, revoked_at=None).count() >= MAX_DEVICES:
        raise Conflict(f"The tenant has {MAX_DEVICES} devices: revoke one first.")
    if known is not None:
        known.delete()
    device = Device.objects.create(tenant=tenant, device_id=device_id, public_key=key)
    audit_record(actor=actor, action="device.register", target=device_id, tenant_id=tenant.pk)
    return device


def device_revoke(*, tenant_id: int, device_id: str, actor: str) -> Device:
    """Revokes a device, and ends its connections in all processes. Idempotent. Raises NotFound."""
    with write_transaction():
        device = Device.objects.filter(tenant_id=tenant_id, device_id=device_id).first()
        if device is None:
            raise NotFound(f"There is no device {clean_text(device_id)!r}.")
        if Device.objects.filter(pk=device.pk, revoked_at=None).update(revoked_at=clock.now()):
            audit_record(actor=actor, action="device.revoke", target=device_id, tenant_id=tenant_id)
        keys_forget()
    device.refresh_from_db()
    return device


def device_list(tenant_id: int) -> Sequence[Device]:
    """Returns the tenant's devices that are not revoked, newest first."""
    return list(Device.objects.filter(tenant_id=tenant_id, revoked_at=None)[:MAX_DEVICES])


def device_recognise(*, device_id: str, message: bytes, signature: str) -> Principal:
    """Returns the principal of the device that signed `message`; raises Unauthorized for any fault alike.

    Several tenants may have registered the same id. The oldest registration whose key made the signature counts, so
    nobody who registers a foreign key later gets that device's connections, not even when it is revoked.
    """
    named = Device.objects.select_related("tenant").filter(device_id=device_id).order_by("pk")[:MAX_NAMESAKES]
    device = next((found for found in named if signature_is_valid(found.public_key, message, signature)), None)
    principal = None if device is None else principal_for_device(device)
    if device is None or principal is None:
        raise Unauthorized("The device is not known, or its signature is not good.")
    with write_transaction():
        Device.objects.filter(pk=device.pk).update(last_used_at=clock.now())
    return principal
