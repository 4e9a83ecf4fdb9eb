"""Verification of webhook messages, which the gateway signs as Standard Webhooks.

A message may come twice: remember `message_id`. The same headers sign the calls of a tool's `callbackUrl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from gateway_client.errors import InvalidSignature
from gateway_client.events import Event, event_decode


@dataclass(frozen=True, slots=True)
class WebhookMessage:
    """A genuine message. `body` is the whole JSON, `event` the event that it tells of."""

    message_id: str
    body: dict[str, Any]
    event: Event


def webhook_verify(body: bytes | str, headers: Mapping[str, str], secret: str) -> WebhookMessage:
    """Checks a message against the webhook's secret (`whsec_…`) and returns it. `body` is the raw body. Raises
    InvalidSignature, also for a message that is more than five minutes old."""
    lower = {name.lower(): value for name, value in headers.items()}
    text = body if isinstance(body, str) else body.decode("utf-8", "replace")
    try:
        checked = Webhook(secret).verify(text, lower)
    except (WebhookVerificationError, ValueError) as error:
        raise InvalidSignature(str(error) or "The webhook's signature is not valid.") from error
    message: dict[str, Any] = checked if isinstance(checked, dict) else {}
    data = message.get("data")
    fields: dict[str, Any] = data if isinstance(data, dict) else message
    event = event_decode(str(message.get("type", "")), fields, str(fields.get("id", "")))
    return WebhookMessage(lower["webhook-id"], message, event)
