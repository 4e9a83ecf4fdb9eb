"""Webhook messages, signed by the gateway's own code, as the client verifies them."""

from __future__ import annotations

import base64
import json
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook

from gateway_client.errors import InvalidSignature
from gateway_client.events import AgentEnd
from gateway_client.webhooks import webhook_verify

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
BODY = json.dumps(
    {"type": "agent_end", "timestamp": "2026-01-31T12:00:00.123Z", "data": {"id": "42.7", "costUsd": 0.5}}
)


def signed(moment: float) -> dict[str, str]:
    at = datetime.fromtimestamp(moment, UTC)
    signature = Webhook(SECRET).sign("msg_1", at, BODY)
    return {"Webhook-Id": "msg_1", "Webhook-Timestamp": str(int(moment)), "Webhook-Signature": signature}


def test_a_genuine_message_has_its_event() -> None:
    message = webhook_verify(BODY.encode(), signed(time.time()), SECRET)
    assert isinstance(message.event, AgentEnd)
    assert (message.message_id, message.event.id, message.event.cost_usd) == ("msg_1", "42.7", 0.5)


@pytest.mark.parametrize(
    ("body", "headers", "secret"),
    [
        (BODY.replace("0.5", "0.6"), signed(time.time()), SECRET),
        (BODY, signed(time.time() - 3600), SECRET),
        (BODY, {}, SECRET),
        (BODY, signed(time.time()), "whsec_" + base64.b64encode(b"x" * 32).decode()),
        (BODY, signed(time.time()), "not base64"),
    ],
    ids=["changed", "old", "unsigned", "another secret", "no secret"],
)
def test_any_other_message_is_refused(body: str, headers: dict[str, str], secret: str) -> None:
    with pytest.raises(InvalidSignature):
        webhook_verify(body, headers, secret)
