"""Making, changing and removing webhooks, and sending again what was settled.

Secrets are given back by the service that makes them and by nothing else. Everything is in the audit trail; an
address is named there by its host alone, because its query may be a credential.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import transaction
from yarl import URL

from core_app import clock
from core_app.database import database_now, write_transaction
from core_app.errors import BadRequest, Conflict, Gone
from core_app.guarded_client import AddressRefused, check_url
from core_app.sealing import seal
from events_app import log
from events_app.models import Event
from events_app.types import webhook_types
from events_app.webhooks.models import DeliveryState, WebhookDelivery, WebhookEndpoint
from events_app.webhooks.outbox import BELL, TEST_EVENT
from events_app.webhooks.queue_order import next_in_line
from events_app.webhooks.removal import endpoint_deliveries_remove
from events_app.webhooks.selectors import delivery_get, webhook_get
from events_app.webhooks.signing import secret_new
from tenants_app.models import Tenant
from tenants_app.principal import Principal
from tenants_app.services.audit import audit_record

MAX_ENDPOINTS = 20
"""Of one tenant: each event costs a row and a request per endpoint."""

FORMER_KEPT = timedelta(hours=24)
"""How long the former secret signs too."""

MANY = 1000
"""What `deliveries_redeliver` takes in one call."""


@dataclass(frozen=True, slots=True)
class IssuedWebhook:
    """An endpoint and its new secret, which is not shown again."""

    endpoint: WebhookEndpoint
    secret: str


def webhook_create(*, principal: Principal, url: str, events: Sequence[str], description: str = "") -> IssuedWebhook:
    """A new endpoint. Raises BadRequest for an address or types that cannot be, Conflict for one too many."""
    secret = secret_new()
    endpoint = WebhookEndpoint(
        tenant_id=principal.tenant_id,
        url=_address(principal, url),
        events=_types(events),
        description=description,
        secret=seal(secret),
    )
    with write_transaction():
        # Two requests at once must not both find room for the last one.
        Tenant.objects.select_for_update(no_key=True).get(pk=principal.tenant_id)
        if WebhookEndpoint.objects.filter(tenant_id=principal.tenant_id).count() >= MAX_ENDPOINTS:
            raise Conflict(f"A tenant has at most {MAX_ENDPOINTS} webhooks.")
        endpoint.save()
        _audit(principal, "webhook.create", endpoint, host=URL(url).host, events=endpoint.events)
    return IssuedWebhook(endpoint, secret)


def webhook_change(*, principal: Principal, public_id: str, changes: Mapping[str, Any]) -> WebhookEndpoint:
    """Changes `url`, `events`, `description`, `disabled`; what is absent stays. Switched on, it goes on in order."""
    with write_transaction():
        endpoint = webhook_get(principal, public_id, for_update=True)
        if "url" in changes:
            endpoint.url = _address(principal, changes["url"])
        if "events" in changes:
            endpoint.events = _types(changes["events"])
        if "description" in changes:
            endpoint.description = changes["description"]
        if "disabled" in changes and changes["disabled"] != (endpoint.disabled_at is not None):
            endpoint.disabled_at = clock.now() if changes["disabled"] else None
            endpoint.disabled_reason = "paused" if changes["disabled"] else None
        endpoint.save(update_fields=["url", "events", "description", "disabled_at", "disabled_reason"])
        disabled = endpoint.disabled_at is not None
        _audit(
            principal,
            "webhook.change",
            endpoint,
            host=URL(endpoint.url).host,
            events=endpoint.events,
            disabled=disabled,
        )
        transaction.on_commit(BELL.ring)
    return endpoint


def webhook_delete(*, principal: Principal, public_id: str) -> None:
    """Removes an endpoint and everything that was or is to be delivered to it."""
    with write_transaction():
        endpoint = webhook_get(principal, public_id, for_update=True)
        key = endpoint.pk
        _audit(principal, "webhook.delete", endpoint, host=URL(endpoint.url).host)
        endpoint.delete()
    endpoint_deliveries_remove(endpoint_id=key)


def webhook_rotate(*, principal: Principal, public_id: str) -> IssuedWebhook:
    """A new secret; the present one signs too for FORMER_KEPT, the one before it no longer."""
    secret = secret_new()
    with write_transaction():
        endpoint = webhook_get(principal, public_id, for_update=True)
        endpoint.former_secret, endpoint.former_until = endpoint.secret, clock.now() + FORMER_KEPT
        endpoint.secret = seal(secret)
        endpoint.save(update_fields=["secret", "former_secret", "former_until"])
        _audit(principal, "webhook.rotate", endpoint)
    return IssuedWebhook(endpoint, secret)


def webhook_test(*, principal: Principal, public_id: str) -> WebhookDelivery:
    """A delivery of type `test`, sent like any other. Raises Conflict when the endpoint is switched off."""
    with write_transaction():
        endpoint = _in_use(webhook_get(principal, public_id, for_update=True))
        delivery = WebhookDelivery.objects.create(endpoint=endpoint, type=TEST_EVENT, due_at=database_now())
        transaction.on_commit(BELL.ring)
    return delivery


def delivery_redeliver(*, principal: Principal, public_id: str, delivery_id: str) -> WebhookDelivery:
    """Sends a settled delivery again, with the same id, or makes the next attempt of a pending one at once.

    Raises Conflict while it is being sent, waits for an earlier one, or its endpoint is switched off; Gone when
    its event is no longer kept.
    """
    endpoint = _in_use(webhook_get(principal, public_id))
    stream_id = delivery_get(endpoint, delivery_id).stream_id
    with write_transaction():
        if stream_id is not None:
            log.lock(stream_id)
        delivery = delivery_get(endpoint, delivery_id, for_update=True)
        if delivery.claim is not None:
            raise Conflict("The delivery is being sent.")
        if delivery.state == DeliveryState.PENDING and delivery.due_at is None:
            raise Conflict("The delivery waits for an earlier one of its session.")
        _due_again(delivery)
        transaction.on_commit(BELL.ring)
    return delivery


def deliveries_redeliver(*, principal: Principal, public_id: str) -> int:
    """Sends an endpoint's dead deliveries again, the oldest first, MANY at most; how many."""
    endpoint = _in_use(webhook_get(principal, public_id))
    dead = WebhookDelivery.objects.filter(endpoint=endpoint, state=DeliveryState.DEAD).order_by("id")
    done = 0
    for delivery_id, stream_id in list(dead.values_list("pk", "stream_id")[:MANY]):
        with write_transaction():
            if stream_id is not None:
                log.lock(stream_id)
            delivery = dead.select_for_update().filter(pk=delivery_id).first()
            if delivery is not None and _event_is_kept(delivery):
                _due_again(delivery)
                done += 1
    BELL.ring()
    return done


def _due_again(delivery: WebhookDelivery) -> None:
    """Puts it back in the line of its session: it is due at once unless another one is."""
    if not _event_is_kept(delivery):
        raise Gone("The event of this delivery is no longer kept.")
    if delivery.state != DeliveryState.PENDING:
        delivery.state, delivery.attempts, delivery.settled_at = DeliveryState.PENDING, 0, None
    delivery.due_at = database_now() if delivery.stream_id is None or delivery.due_at is not None else None
    delivery.save(update_fields=["state", "attempts", "settled_at", "due_at"])
    if delivery.stream_id is not None and delivery.due_at is None:
        next_in_line(endpoint_id=delivery.endpoint_id, stream_id=delivery.stream_id)
        delivery.refresh_from_db()


def _event_is_kept(delivery: WebhookDelivery) -> bool:
    if delivery.stream_id is None or delivery.offset is None:
        return True
    return Event.objects.filter(stream_id=delivery.stream_id, offset=delivery.offset).exists()


def _in_use(endpoint: WebhookEndpoint) -> WebhookEndpoint:
    if endpoint.disabled_at is not None:
        raise Conflict("The webhook is disabled.")
    return endpoint


def _address(principal: Principal, url: str) -> str:
    try:
        return check_url(url, allow_private=principal.allow_private)
    except AddressRefused as refused:
        raise BadRequest(f"url {refused.reason}", field="url") from None


def _types(events: Sequence[str]) -> list[str]:
    known = webhook_types()
    if not events or not set(known).issuperset(events):
        raise BadRequest(f"events are one or more of {', '.join(known)}.", field="events")
    return [name for name in known if name in events]


def _audit(principal: Principal, action: str, endpoint: WebhookEndpoint, **detail: Any) -> None:
    audit_record(
        tenant_id=principal.tenant_id, actor=principal.actor, action=action, target=endpoint.public_id, detail=detail
    )
