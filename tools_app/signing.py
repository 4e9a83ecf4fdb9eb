"""Signatures of callbacks: Standard Webhooks, with the tool's secret or else the tenant's.

`standardwebhooks` decodes any string as base64, so a secret is checked here when it is registered. A tenant
that set none has one derived from GATEWAY_SECRET_KEY, which its operators can read (`tenant_secrets`); while that
key is changed, such callbacks are signed with the former one's too, and a receiver accepts either.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Sequence
from typing import Any

from standardwebhooks.webhooks import Webhook

from core_app import clock
from core_app.errors import BadRequest
from core_app.sealing import derive_former_keys, derive_key, unseal
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


def tenant_secrets(tenant: Tenant) -> list[str]:
    """The secrets that sign the callbacks of a tenant's tools that have none of their own, the present one first."""
    if sealed := tenant.settings.get("sealed_callback_secret"):
        return [unseal(sealed)]
    purpose = f"callbacks:{tenant.slug}"
    return [
        _PREFIX + base64.b64encode(secret).decode("ascii")
        for secret in (derive_key(purpose), *derive_former_keys(purpose))
    ]


def signature_headers(*, using: Sequence[str], message_id: str, body: str) -> dict[str, str]:
    """The three headers of Standard Webhooks for `body` as it is sent, signed with every secret of `using`."""
    moment = clock.now()
    signatures = [Webhook(secret).sign(msg_id=message_id, timestamp=moment, data=body) for secret in using]
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }


def result_token(call_id: str, known_hash: str | None = None) -> str:
    """The secret part of a call's `resultUrl`: the same each time the call is made, so that a repeated callback
    carries the same body. `known_hash` is the stored one's, which may be of a former secret key."""
    purpose = f"result:{call_id}"
    tokens = [_token(secret) for secret in (derive_key(purpose), *derive_former_keys(purpose))]
    return next((token for token in tokens if token_hash(token) == known_hash), tokens[0])


def _token(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode("ascii").rstrip("=")


def token_hash(token: str) -> str:
    """What of a result token is stored."""
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
