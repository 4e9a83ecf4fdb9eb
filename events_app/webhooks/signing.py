"""Secrets of endpoints, and the headers of Standard Webhooks.

For a day after a rotation a message has two signatures, and a receiver accepts either. So it can change its secret at
any time within that day without losing a message.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Sequence

from standardwebhooks.webhooks import Webhook

from core_app import clock
from events_app.webhooks.models import WebhookEndpoint

_SECRET_BYTES = 32
"""Length of a secret. Standard Webhooks requires 24 to 64."""


def secret_new() -> str:
    """Returns a new secret, in the form that libraries of Standard Webhooks take."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(_SECRET_BYTES)).decode("ascii")


def secrets_of(endpoint: WebhookEndpoint) -> list[str]:
    """Returns the sealed secrets that sign now, the present one first."""
    former = endpoint.former_secret
    if former is None or endpoint.former_until is None or endpoint.former_until <= clock.now():
        return [endpoint.secret]
    return [endpoint.secret, former]


def headers_of(*, message_id: str, body: str, using: Sequence[str]) -> dict[str, str]:
    """Returns the headers of a message that is sent now, signed with every secret of `using`."""
    moment = clock.now()
    signatures = [Webhook(secret).sign(msg_id=message_id, timestamp=moment, data=body) for secret in using]
    return {
        "Content-Type": "application/json",
        "User-Agent": "agent-gateway",
        "webhook-id": message_id,
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(signatures),
    }
