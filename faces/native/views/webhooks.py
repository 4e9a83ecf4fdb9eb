"""A tenant's webhooks: endpoints, their secrets, and their deliveries."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core_app.errors import BadRequest
from edge_app.rest.paging import limit_of
from edge_app.rest.viewsets import GatewayViewSet, idempotent
from events_app.webhooks import services
from events_app.webhooks.models import DeliveryState, WebhookDelivery
from events_app.webhooks.selectors import (
    deliveries_page,
    delivery_to_wire,
    webhook_get,
    webhook_to_wire,
    webhooks_list,
)
from events_app.webhooks.services import IssuedWebhook
from faces.native.serializers import WebhookCreateSerializer, WebhookPatchSerializer
from sessions_app.selectors import session_names
from tenants_app.principal import WEBHOOKS

_MAX_CURSOR_CHARACTERS = 40


class WebhookViewSet(GatewayViewSet):
    """Webhook endpoints, the newest first."""

    scope = WEBHOOKS
    lookup_url_kwarg = "webhook_id"
    has_secrets = True

    def list(self, request: Request) -> Response:
        return Response({"webhooks": [webhook_to_wire(endpoint) for endpoint in webhooks_list(self.principal)]})

    @idempotent
    def create(self, request: Request) -> Response:
        data = self.parse_body(WebhookCreateSerializer).validated_data
        with self.work_transaction():
            issued = services.webhook_create(principal=self.principal, **data)
            location = f"/v1/webhooks/{issued.endpoint.public_id}"
            return self.store_response(Response(_issued_to_wire(issued), status=201, headers={"Location": location}))

    def retrieve(self, request: Request, webhook_id: str) -> Response:
        return Response(webhook_to_wire(webhook_get(self.principal, webhook_id)))

    def partial_update(self, request: Request, webhook_id: str) -> Response:
        webhook_get(self.principal, webhook_id)
        changes = self.parse_body(WebhookPatchSerializer).validated_data
        endpoint = services.webhook_change(principal=self.principal, public_id=webhook_id, changes=changes)
        return Response(webhook_to_wire(endpoint))

    def destroy(self, request: Request, webhook_id: str) -> Response:
        services.webhook_delete(principal=self.principal, public_id=webhook_id)
        return Response(status=204)

    @action(detail=True, methods=["post"], name="Webhook Rotate")
    @idempotent
    def rotate(self, request: Request, webhook_id: str) -> Response:
        """Makes a new secret; the former one signs too for a while."""
        with self.work_transaction():
            issued = services.webhook_rotate(principal=self.principal, public_id=webhook_id)
            return self.store_response(Response(_issued_to_wire(issued)))

    @action(detail=True, methods=["post"], name="Webhook Test", has_secrets=False)
    @idempotent
    def test(self, request: Request, webhook_id: str) -> Response:
        """Sends a message of type `test`."""
        with self.work_transaction():
            delivery = services.webhook_test(principal=self.principal, public_id=webhook_id)
            return self.store_response(Response(delivery_to_wire(delivery, None), status=202))

    @action(detail=True, methods=["post"], name="Webhook Redeliver")
    def redeliver(self, request: Request, webhook_id: str) -> Response:
        """Sends all dead deliveries again."""
        count = services.deliveries_redeliver(principal=self.principal, public_id=webhook_id)
        return Response({"redelivered": count}, status=202)

    @action(detail=True, name="Webhook Deliveries")
    def deliveries(self, request: Request, webhook_id: str) -> Response:
        """Returns the deliveries, the newest first."""
        endpoint = webhook_get(self.principal, webhook_id)
        found, cursor = deliveries_page(
            endpoint, before=_cursor(request), limit=limit_of(request), state=_status(request)
        )
        return Response({"deliveries": _deliveries_to_wire(found), "nextCursor": cursor})

    @action(
        detail=True,
        methods=["post"],
        url_path="deliveries/<str:delivery_id>/redeliver",
        url_name="redeliver-one",
        name="Delivery Redeliver",
    )
    def redeliver_one(self, request: Request, webhook_id: str, delivery_id: str) -> Response:
        """Sends one delivery again."""
        delivery = services.delivery_redeliver(principal=self.principal, public_id=webhook_id, delivery_id=delivery_id)
        return Response(_deliveries_to_wire([delivery])[0], status=202)


def _issued_to_wire(issued: IssuedWebhook) -> dict[str, Any]:
    return {**webhook_to_wire(issued.endpoint), "secret": issued.secret}


def _deliveries_to_wire(deliveries: Sequence[WebhookDelivery]) -> list[dict[str, Any]]:
    names = session_names({delivery.stream_id for delivery in deliveries if delivery.stream_id is not None})
    return [delivery_to_wire(delivery, names.get(delivery.stream_id or 0)) for delivery in deliveries]


def _cursor(request: Request) -> str | None:
    cursor = request.query_params.get("cursor")
    if cursor and (len(cursor) > _MAX_CURSOR_CHARACTERS or not cursor.isascii() or not cursor.isprintable()):
        raise BadRequest("'cursor' is the nextCursor of a page.", field="cursor")
    return cursor or None


def _status(request: Request) -> str | None:
    status = request.query_params.get("status")
    if status and status not in DeliveryState.values:
        raise BadRequest(f"'status' is one of {', '.join(DeliveryState.values)}.", field="status")
    return status or None
