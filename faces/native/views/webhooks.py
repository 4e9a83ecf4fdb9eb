"""A tenant's webhooks: endpoints, their secrets, and what was or is to be delivered to them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from core_app.errors import BadRequest
from edge_app.rest.paging import limit_of
from edge_app.rest.viewsets import GatewayAPIView, idempotent
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
from tenants_app.principal import ADMIN

_LONGEST_CURSOR = 40


class WebhookList(GatewayAPIView):
    """POST creates, GET lists the newest first."""

    scope = ADMIN
    answers_secret = True

    def get(self, request: Request) -> Response:
        return Response({"webhooks": [webhook_to_wire(endpoint) for endpoint in webhooks_list(self.principal)]})

    @idempotent
    def post(self, request: Request) -> Response:
        serializer = WebhookCreateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        with self.once():
            issued = services.webhook_create(principal=self.principal, **serializer.validated_data)
            location = f"/v1/webhooks/{issued.endpoint.public_id}"
            return self.keep(Response(_issued(issued), status=201, headers={"Location": location}))


class WebhookDetail(GatewayAPIView):
    """One endpoint."""

    scope = ADMIN

    def get(self, request: Request, webhook_id: str) -> Response:
        return Response(webhook_to_wire(webhook_get(self.principal, webhook_id)))

    def patch(self, request: Request, webhook_id: str) -> Response:
        webhook_get(self.principal, webhook_id)
        serializer = WebhookPatchSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        changed = services.webhook_change(
            principal=self.principal, public_id=webhook_id, changes=serializer.validated_data
        )
        return Response(webhook_to_wire(changed))

    def delete(self, request: Request, webhook_id: str) -> Response:
        services.webhook_delete(principal=self.principal, public_id=webhook_id)
        return Response(status=204)


class WebhookRotate(GatewayAPIView):
    """POST …/rotate."""

    scope = ADMIN
    answers_secret = True

    @idempotent
    def post(self, request: Request, webhook_id: str) -> Response:
        with self.once():
            issued = services.webhook_rotate(principal=self.principal, public_id=webhook_id)
            return self.keep(Response(_issued(issued)))


class WebhookTest(GatewayAPIView):
    """POST …/test."""

    scope = ADMIN

    @idempotent
    def post(self, request: Request, webhook_id: str) -> Response:
        with self.once():
            delivery = services.webhook_test(principal=self.principal, public_id=webhook_id)
            return self.keep(Response(delivery_to_wire(delivery, None), status=202))


class WebhookDeliveries(GatewayAPIView):
    """The deliveries, the newest first."""

    scope = ADMIN

    def get(self, request: Request, webhook_id: str) -> Response:
        endpoint = webhook_get(self.principal, webhook_id)
        found, cursor = deliveries_page(
            endpoint, before=_cursor(request), limit=limit_of(request), state=_status(request)
        )
        return Response({"deliveries": _shown(found), "nextCursor": cursor})


class DeliveryRedeliver(GatewayAPIView):
    """POST …/deliveries/:id/redeliver."""

    scope = ADMIN

    def post(self, request: Request, webhook_id: str, delivery_id: str) -> Response:
        delivery = services.delivery_redeliver(principal=self.principal, public_id=webhook_id, delivery_id=delivery_id)
        return Response(_shown([delivery])[0], status=202)


class WebhookRedeliver(GatewayAPIView):
    """POST …/redeliver: everything that is dead."""

    scope = ADMIN

    def post(self, request: Request, webhook_id: str) -> Response:
        done = services.deliveries_redeliver(principal=self.principal, public_id=webhook_id)
        return Response({"redelivered": done}, status=202)


def _issued(issued: IssuedWebhook) -> dict[str, Any]:
    return {**webhook_to_wire(issued.endpoint), "secret": issued.secret}


def _shown(deliveries: Sequence[WebhookDelivery]) -> list[dict[str, Any]]:
    names = session_names({row.stream_id for row in deliveries if row.stream_id is not None})
    return [delivery_to_wire(row, names.get(row.stream_id or 0)) for row in deliveries]


def _cursor(request: Request) -> str | None:
    cursor = request.query_params.get("cursor")
    if cursor and (len(cursor) > _LONGEST_CURSOR or not cursor.isascii() or not cursor.isprintable()):
        raise BadRequest("'cursor' is the nextCursor of a page.", field="cursor")
    return cursor or None


def _status(request: Request) -> str | None:
    status = request.query_params.get("status")
    if status and status not in DeliveryState.values:
        raise BadRequest(f"'status' is one of {', '.join(DeliveryState.values)}.", field="status")
    return status or None
