"""The pages of devices and of connection tokens."""

from __future__ import annotations

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.test import Client

from tenants_app.models import AuditEntry, ConnectionToken, Device, Tenant
from tenants_app.services.connection_token import connection_token_issue, connection_token_use
from tests.conftest import Caller

pytestmark = pytest.mark.django_db(transaction=True)

DEVICES = "/admin/tenants_app/device/"
TOKENS = "/admin/tenants_app/connectiontoken/"


def new_key() -> str:
    return base64.b64encode(Ed25519PrivateKey.generate().public_key().public_bytes_raw()).decode()


def test_a_device_is_registered_and_revoked(root: Client, tenant: Tenant) -> None:
    key = new_key()
    body = {"tenant": tenant.pk, "device_id": "laptop", "public_key": key}
    assert root.post(f"{DEVICES}add/", body).status_code == 302
    device = Device.objects.get()
    assert (device.device_id, device.public_key) == ("laptop", key)
    page = root.get(f"{DEVICES}{device.pk}/change/").content.decode()
    assert key.replace("=", "&#x3D;") in page or key in page
    revoke = {"action": "revoke", "_selected_action": [device.pk], "confirmed": "yes"}
    root.post(DEVICES, revoke)
    device.refresh_from_db()
    assert device.revoked_at is not None
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True))[-2:] == [
        "device.register",
        "device.revoke",
    ]


def test_a_wrong_key_is_an_error_of_the_form(root: Client, tenant: Tenant) -> None:
    page = root.post(f"{DEVICES}add/", {"tenant": tenant.pk, "device_id": "laptop", "public_key": "short"})
    assert page.status_code == 200
    assert "is an Ed25519 key" in page.content.decode()
    assert not Device.objects.exists()


def test_a_token_is_revoked_and_its_hash_is_not_shown(root: Client, owner: Caller) -> None:
    issued = connection_token_issue(principal=owner.principal, method="token", client_id="one")
    row = ConnectionToken.objects.get()
    page = root.get(f"{TOKENS}{row.pk}/change/").content.decode()
    assert "one" in page
    assert row.secret_hash not in page
    root.post(TOKENS, {"action": "revoke", "_selected_action": [row.pk], "confirmed": "yes"})
    row.refresh_from_db()
    assert row.revoked_at is not None
    with pytest.raises(Exception, match="no longer good"):
        connection_token_use(issued.secret)
