"""The tenant's webhooks: created, changed, tested, their secrets rotated, their deliveries repeated.

`gateway_client.webhooks` is the other end, which verifies what they send.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from gateway_client.results import Position, Result
from gateway_client.transport import Transport, decode

PAGE = 200


class Webhook(Result, frozen=True):
    """A webhook. `secret` is there after its creation and a rotation only."""

    id: str
    url: str
    events: list[str]
    description: str
    created_at: str
    disabled_at: str | None
    disabled_reason: str | None
    former_secret_until: str | None
    secret: str | None = None


class Delivery(Result, frozen=True):
    """A message that was sent, or is to be sent. `status` is `pending`, `delivered` or `dead`."""

    id: str
    type: str
    session_id: str | None
    event_id: Position | None
    status: str
    attempts: int
    last_status_code: int | None
    last_error: str | None
    next_attempt_at: str | None
    created_at: str
    settled_at: str | None


class DeliveryPage(Result, frozen=True):
    deliveries: list[Delivery]
    next_cursor: str | None


class _Webhooks(Result, frozen=True):
    webhooks: list[Webhook]


class _Redelivered(Result, frozen=True):
    redelivered: int


@dataclass(frozen=True, slots=True)
class AsyncWebhooks:
    """The webhooks of the key's tenant (scope `admin`)."""

    transport: Transport

    async def list(self) -> Sequence[Webhook]:
        return (await self.transport.get("/v1/webhooks", _Webhooks)).webhooks

    async def get(self, webhook_id: str) -> Webhook:
        return await self.transport.get(_path(webhook_id), Webhook)

    async def create(
        self, url: str, events: Sequence[str], *, description: str | None = None, key: str | None = None
    ) -> Webhook:
        """Creates a webhook; keep its `secret`, which is never shown again."""
        body: dict[str, object] = {"url": url, "events": list(events)}
        if description is not None:
            body["description"] = description
        return await self.transport.create("/v1/webhooks", body, Webhook, key)

    async def change(self, webhook_id: str, **fields: object) -> Webhook:
        """Changes `url`, `events`, `description` or `disabled`."""
        return decode(await self.transport.send("PATCH", _path(webhook_id), fields), Webhook)

    async def delete(self, webhook_id: str) -> None:
        await self.transport.send("DELETE", _path(webhook_id))

    async def rotate(self, webhook_id: str, *, key: str | None = None) -> Webhook:
        """Makes a new secret; the former one signs too for 24 hours."""
        return await self.transport.create(_path(webhook_id, "rotate"), {}, Webhook, key)

    async def test(self, webhook_id: str, *, key: str | None = None) -> Delivery:
        """Sends a message of type `test`."""
        return await self.transport.create(_path(webhook_id, "test"), {}, Delivery, key)

    async def deliveries(self, webhook_id: str, *, status: str | None = None) -> AsyncIterator[Delivery]:
        """Yields deliveries, the newest first, page by page."""
        cursor: str | None = None
        while True:
            path = _path(webhook_id, "deliveries")
            page = await self.transport.get(path, DeliveryPage, status=status, cursor=cursor, limit=PAGE)
            for delivery in page.deliveries:
                yield delivery
            cursor = page.next_cursor
            if cursor is None:
                return

    async def redeliver(self, webhook_id: str, delivery_id: str) -> Delivery:
        """Sends a delivery again, or makes the next attempt of a pending one at once."""
        path = _path(webhook_id, "deliveries", delivery_id, "redeliver")
        return decode(await self.transport.send("POST", path, {}, repeat=False), Delivery)

    async def redeliver_dead(self, webhook_id: str) -> int:
        """Sends the dead deliveries again, at most the 1000 oldest; returns their number."""
        body = await self.transport.send("POST", _path(webhook_id, "redeliver"), {}, repeat=False)
        return decode(body, _Redelivered).redelivered


def _path(webhook_id: str, *rest: str) -> str:
    return "/v1/webhooks/" + "/".join(quote(part, safe="") for part in (webhook_id, *rest))
