"""Signatures of callbacks: Standard Webhooks, with the tool's secret or else the tenant's.

`standardwebhooks` decodes any string as base64, so a secret is checked here when it is registered. A tenant
that set none has one derived from GATEWAY_SECRET_KEY, which its operators can read (`tenant_secret`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import Any

from standardwebhooks.webhooks import Webhook

from core_app import clock
from core_app.errors import BadRequest
from core_app.sealing import derived, unseal
from tenants_app.models import Tenant

_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
"""What Standard Webhooks asks of a secret: 24 to 64 bytes."""


def secret_checked(value: Any, *, field: str = "secret") -> str:
    """`value` when it is `whsec_` and 24 to 64 bytes of base64; BadRequest else."""
    text = value.removeprefix(_PREFIX) if isinstance(value, str) and value.startswith(_PREFIX) else ""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) not in _SECRET_BYTES:
        raise BadRequest(f'{field} must be "whsec_" followed by 24 to 64 bytes in base64.', field=field)
    return str(value)


def tenant_secret(tenant: Tenant) -> str:
    """The secret that signs the callbacks of a tenant's tools that have none of their own."""
    if sealed := tenant.settings.get("sealed_callback_secret"):
        return unseal(sealed)
    return _PREFIX + base64.b64encode(derived(f"callbacks:{tenant.slug}")).decode("ascii")


def signature_headers(*, secret: str, message_id: str, body: str) -> dict[str, str]:
    """The three headers of Standard Webhooks for `body` as it is sent."""
    moment = clock.now()
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": Webhook(secret).sign(msg_id=message_id, timestamp=moment, data=body),
    }


def result_token(call_id: str) -> str:
    """The secret part of a call's `resultUrl`: the same each time the call is made, so that a repeated callback
    carries the same body."""
    return base64.urlsafe_b64encode(derived(f"result:{call_id}")).decode("ascii").rstrip("=")


def token_hash(token: str) -> str:
    """What of a result token is stored."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
