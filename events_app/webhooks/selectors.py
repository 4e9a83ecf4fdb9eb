"""Reads of webhooks and deliveries, bound to the principal's tenant, and their shapes on the wire."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django.db.models import QuerySet

from core_app import clock
from core_app.errors import NotFound
from events_app.webhooks.models import DeliveryState, WebhookDelivery, WebhookEndpoint
from tenants_app.models import Tenant
from tenants_app.principal import Principal

MAX_COUNTED = 1000
"""Limit of a count on a page."""


def webhook_get(principal: Principal, public_id: str, *, for_update: bool = False) -> WebhookEndpoint:
    """Returns the tenant's endpoint of that id, with `for_update` locked. Raises NotFound."""
    rows = WebhookEndpoint.objects.filter(tenant_id=principal.tenant_id, public_id=public_id)
    endpoint = (rows.select_for_update() if for_update else rows).first()
    if endpoint is None:
        raise NotFound(f"There is no webhook {public_id!r}.")
    return endpoint


def webhooks_list(principal: Principal) -> list[WebhookEndpoint]:
    """Returns the tenant's endpoints, the newest first; there are at most `services.MAX_ENDPOINTS`."""
    return list(WebhookEndpoint.objects.filter(tenant_id=principal.tenant_id).order_by("-id"))


def endpoints_of(tenant: Tenant | None) -> QuerySet[WebhookEndpoint]:
    """Selects the endpoints of one tenant, or of all when it is None, for pages whose user may see them."""
    endpoints = WebhookEndpoint.objects.all()
    return endpoints if tenant is None else endpoints.filter(tenant=tenant)


def deliveries_failed(tenant_id: int | None, limit: int) -> list[WebhookDelivery]:
    """Returns the newest deliveries that were given up, of one tenant, or of all for the gateway's own operator."""
    rows = WebhookDelivery.objects.filter(state=DeliveryState.DEAD).select_related("endpoint__tenant")
    if tenant_id is not None:
        endpoints = WebhookEndpoint.objects.filter(tenant_id=tenant_id).values_list("pk", flat=True)
        rows = rows.filter(endpoint_id__in=list(endpoints))
    return list(rows.order_by("-id")[:limit])


def deliveries_pending(tenant_id: int | None) -> int:
    """Returns the number of deliveries that are due or wait, MAX_COUNTED at most; None: of all tenants."""
    rows = WebhookDelivery.objects.filter(state=DeliveryState.PENDING)
    if tenant_id is not None:
        endpoints = WebhookEndpoint.objects.filter(tenant_id=tenant_id).values_list("pk", flat=True)
        rows = rows.filter(endpoint_id__in=list(endpoints))
    return rows.order_by("-id")[:MAX_COUNTED].count()


def delivery_get(endpoint: WebhookEndpoint, delivery_id: str, *, for_update: bool = False) -> WebhookDelivery:
    """Returns a delivery to the endpoint, with `for_update` locked. Raises NotFound."""
    rows = WebhookDelivery.objects.filter(endpoint=endpoint, pk=delivery_id)
    delivery = (rows.select_for_update() if for_update else rows).first()
    if delivery is None:
        raise NotFound(f"The webhook has no delivery {delivery_id!r}.")
    return delivery


def deliveries_page(
    endpoint: WebhookEndpoint, *, before: str | None, limit: int, state: str | None = None
) -> tuple[list[WebhookDelivery], str | None]:
    """Returns a page of deliveries, the newest first, and the cursor of the next page; None at the end."""
    rows = WebhookDelivery.objects.filter(endpoint=endpoint).order_by("-id")
    rows = rows.filter(pk__lt=before) if before else rows
    found = list((rows.filter(state=state) if state else rows)[: limit + 1])
    return found[:limit], found[limit - 1].pk if len(found) > limit else None


def webhook_to_wire(endpoint: WebhookEndpoint) -> dict[str, Any]:
    """Returns the wire shape of an endpoint, without its secrets."""
    until = endpoint.former_until
    return {
        "id": endpoint.public_id,
        "url": endpoint.url,
        "events": endpoint.events,
        "description": endpoint.description,
        "createdAt": clock.iso_ms(endpoint.created_at),
        "disabledAt": clock.iso_ms(endpoint.disabled_at) if endpoint.disabled_at else None,
        "disabledReason": endpoint.disabled_reason,
        "formerSecretUntil": clock.iso_ms(until) if until and until > clock.now() else None,
    }


def delivery_to_wire(delivery: WebhookDelivery, session_id: str | None) -> dict[str, Any]:
    """Returns the wire shape of a delivery. `session_id` is the wire id of its session, None for a test."""
    due, position = delivery.due_at, delivery.position
    return {
        "id": delivery.pk,
        "type": delivery.type,
        "sessionId": session_id,
        "eventId": position.wire if position is not None else None,
        "status": delivery.state,
        "attempts": delivery.attempts,
        "lastStatusCode": delivery.last_status,
        "lastError": delivery.last_error,
        "nextAttemptAt": clock.iso_ms(datetime.fromtimestamp(due, UTC)) if due is not None else None,
        "createdAt": clock.iso_ms(delivery.created_at),
        "settledAt": clock.iso_ms(delivery.settled_at) if delivery.settled_at else None,
    }
