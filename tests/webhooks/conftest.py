"""The gateway with a scripted engine, a receiver, and hands that move time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from agents_app import registry
from core_app import database
from core_app.database import write_transaction
from events_app.models import WebhookDelivery
from events_app.webhooks.outbox import BELL
from sessions_app.events import WEBHOOK_EVENTS
from tests.gateway_harness import WAIT, Client, GatewayHarness, api, gateway
from tests.scripted_engine import ScriptedEngine
from tests.webhooks.receiver import Receiver, receiving

__all__ = ["api", "gateway", "script"]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ScriptedEngine:
    """Every leg runs on this engine; it echoes until it is told otherwise."""
    engine = ScriptedEngine()
    monkeypatch.setattr(registry, "engine_get", lambda name: engine)
    return engine


@pytest.fixture
def private_allowed(settings: Any) -> None:
    settings.GATEWAY_CALLBACK_ALLOW_PRIVATE = True


@pytest_asyncio.fixture
async def receiver(gateway: GatewayHarness, private_allowed: None) -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@dataclass
class Hook:
    """A webhook of somebody's, pointed at a receiver."""

    client: Client
    id: str
    secret: str

    @property
    def path(self) -> str:
        return f"/v1/webhooks/{self.id}"

    async def deliveries(self, **query: str) -> list[dict[str, Any]]:
        """What is there, the oldest first."""
        given = "&".join(f"{name}={value}" for name, value in query.items())
        page = (await self.client.get(f"{self.path}/deliveries?limit=200&{given}")).json
        return list(reversed(page["deliveries"]))

    async def only(self) -> dict[str, Any]:
        (delivery,) = await self.deliveries()
        return delivery

    async def until(self, **wanted: Any) -> dict[str, Any]:
        """The only delivery, when it has come to this."""
        async with asyncio.timeout(WAIT):
            while True:
                delivery = await self.only()
                if wanted.items() <= delivery.items():
                    return delivery


async def hook(client: Client, receiver: Receiver, *events: str, **more: Any) -> Hook:
    """A new webhook for `events`, or for all."""
    given = {"url": receiver.url, "events": list(events or WEBHOOK_EVENTS), **more}
    answer = await client.post("/v1/webhooks", given)
    assert answer.status == 201, answer.body
    return Hook(client, answer.json["id"], answer.json["secret"])


async def time_passes() -> None:
    """What waits for its next attempt, or is claimed, is due; senders are told."""

    def change() -> None:
        with write_transaction():
            WebhookDelivery.objects.filter(due_at__isnull=False).update(due_at=1.0)

    await database.run(change)
    BELL.ring()


async def rows() -> int:
    """All deliveries there are."""
    return await database.run(WebhookDelivery.objects.count)
