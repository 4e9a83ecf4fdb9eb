"""Signatures of callbacks by Standard Webhooks, with the tool's secret or else the tenant's.

`standardwebhooks` decodes any string as base64, so secrets are checked here when they are registered. A tenant without
a secret gets one derived from GATEWAY_SECRET_KEY, which its operators can read (`tenant_secrets`). While that key is
rotated, such callbacks carry signatures of both keys, and a receiver accepts either.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from standardwebhooks.webhooks import Webhook

from core_app import clock
from core_app.errors import BadRequest
from core_app.ids import mark_cell
from core_app.sealing import derive_former_keys, derive_key, unseal
from tenants_app.models import Tenant

_PREFIX = "whsec_"
_SECRET_BYTES = range(24, 65)
"""Size of a secret by Standard Webhooks: 24 to 64 bytes."""


def secret_check(value: Any, *, field: str = "secret") -> str:
    """Returns `value` if it is `whsec_` and 24 to 64 bytes of base64; raises BadRequest otherwise."""
    text = value.removeprefix(_PREFIX) if isinstance(value, str) and value.startswith(_PREFIX) else ""
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if len(decoded) not in _SECRET_BYTES:
        raise BadRequest(f'{field} must be "whsec_" followed by 24 to 64 bytes in base64.', field=field)
    return str(value)


def tenant_secrets(tenant: Tenant) -> list[str]:
    """The secrets for callbacks of tools without a secret of their own, the current one first."""
    if sealed := tenant.settings.get("sealed_callback_secret"):
        return [unseal(sealed)]
    purpose = f"callbacks:{tenant.slug}"
    return [
        _PREFIX + base64.b64encode(secret).decode("ascii")
        for secret in (derive_key(purpose), *derive_former_keys(purpose))
    ]


def signature_headers(*, using: Sequence[str], message_id: str, body: str) -> dict[str, str]:
    """The three headers of Standard Webhooks for `body`, signed with every secret in `using`."""
    moment = clock.now()
    signatures = [Webhook(secret).sign(msg_id=message_id, timestamp=moment, data=body) for secret in using]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def result_token(call_id: str, known_hash: str | None = None) -> str:
    """The secret segment of a call's `resultUrl`. It is the same at every attempt, so that a repeated callback carries
    the same body. `known_hash` is the stored hash, which may stem from a former secret key."""
    purpose = f"result:{call_id}"
    derived = [derive_key(purpose), *derive_former_keys(purpose)]
    beginnings = [mark_cell("res"), ""] if settings.GATEWAY_CELL else [""]
    tokens = [beginning + _token(secret) for beginning in beginnings for secret in derived]
    return next((token for token in tokens if token_hash(token) == known_hash), tokens[0])


def _token(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode("ascii").rstrip("=")


def token_hash(token: str) -> str:
    """The stored form of a result token: its SHA-256 in hex."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
