"""Claims of senders on due deliveries, and the outcomes of attempts.

A claim moves `due_at` past its lease in one short transaction (`SKIP LOCKED`: several senders get different rows). An
outcome names its claim and changes nothing when the claim was lost meanwhile. Adding a delivery and settling one both
hold the stream's lock, so the next one in the queue is never overlooked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import F, OuterRef, Q, QuerySet, Subquery

from core_app import clock, jsontext
from core_app.database import database_now, write_transaction
from core_app.ids import new_id
from events_app import log
from events_app.models import Event, Stream
from events_app.webhooks.models import DeliveryState, WebhookDelivery, WebhookEndpoint
from events_app.webhooks.outbox import TEST_EVENT
from events_app.webhooks.queue_order import next_in_line
from tenants_app.services.audit import SYSTEM, audit_record

LEASE_SECONDS = 60.0
"""Longer than an attempt can take: `sender.ATTEMPT_SECONDS` and the commit of its outcome."""

SessionNames = Callable[[Collection[int]], Mapping[int, str]]
"""Returns the wire ids of sessions by the ids of their streams; an upper room provides it."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """A claimed delivery with everything that sending it needs. `body` is None when its event was removed."""

    delivery_id: str
    claim: str
    number: int
    stream_id: int | None
    endpoint: WebhookEndpoint
    body: str | None


def endpoints_due(*, limit: int, besides: Iterable[int] = ()) -> list[WebhookEndpoint]:
    """Returns endpoints with a due delivery, the one that has waited longest first, without those of `besides`."""
    due = WebhookDelivery.objects.filter(endpoint_id=OuterRef("pk"), due_at__isnull=False)
    # Not Min(): PostgreSQL would read every row of a dead endpoint. This reads the first entry of the index.
    oldest = Subquery(due.order_by("due_at").values("due_at")[:1])
    found = WebhookEndpoint.objects.filter(disabled_at__isnull=True, tenant__disabled_at__isnull=True)
    rows = found.exclude(pk__in=list(besides)).annotate(oldest=oldest).filter(oldest__lte=database_now())
    return list(rows.select_related("tenant").order_by("oldest")[:limit])


def deliveries_claim(*, endpoint: WebhookEndpoint, limit: int, names: SessionNames) -> list[Attempt]:
    """Claims at most `limit` of the endpoint's due deliveries and returns an attempt for each."""
    claim = new_id("clm")
    with write_transaction():
        moment = database_now()
        due = WebhookDelivery.objects.filter(endpoint_id=endpoint.pk, due_at__lte=moment).order_by("due_at")
        rows = list(due.select_for_update(skip_locked=True)[:limit])
        WebhookDelivery.objects.filter(pk__in=[row.pk for row in rows]).update(
            due_at=moment + LEASE_SECONDS, claim=claim, attempts=F("attempts") + 1
        )
    for row in rows:
        row.endpoint = endpoint
    bodies = _make_bodies(rows, names)
    return [Attempt(row.pk, claim, row.attempts + 1, row.stream_id, endpoint, bodies.get(row.pk)) for row in rows]


def delivery_settle(*, attempt: Attempt, state: DeliveryState, status: int | None, error: str | None) -> bool:
    """Ends a delivery and makes the next one of its session due; False when the claim was lost."""
    with write_transaction():
        if not _lock_stream(attempt.stream_id):
            return False
        ended = _own_claim(attempt).update(
            state=state, due_at=None, claim=None, last_status=status, last_error=error, settled_at=clock.now()
        )
        if ended and attempt.stream_id is not None:
            next_in_line(endpoint_id=attempt.endpoint.pk, stream_id=attempt.stream_id)
    return bool(ended)


def delivery_postpone(*, attempt: Attempt, seconds: float, status: int | None, error: str | None) -> bool:
    """Makes the delivery due again in `seconds`; returns False when the claim was lost."""
    with write_transaction():
        return bool(
            _own_claim(attempt).update(
                due_at=database_now() + seconds, claim=None, last_status=status, last_error=error
            )
        )


def claims_release(*, attempts: Sequence[Attempt]) -> None:
    """Makes deliveries due again that a stopping sender could not finish."""
    with write_transaction():
        for attempt in sorted(attempts, key=lambda attempt: attempt.delivery_id):
            _own_claim(attempt).update(due_at=database_now(), claim=None)


def endpoint_gone(*, endpoint: WebhookEndpoint) -> bool:
    """Disables an endpoint whose receiver responded with 410; its pending deliveries wait. Returns False, and changes
    nothing, when its address was changed meanwhile."""
    with write_transaction():
        same = WebhookEndpoint.objects.filter(pk=endpoint.pk, url=endpoint.url)
        if same.filter(disabled_at__isnull=True).update(disabled_at=clock.now(), disabled_reason="gone"):
            audit_record(tenant_id=endpoint.tenant_id, actor=SYSTEM, action="webhook.gone", target=endpoint.public_id)
        return same.exists()


def _own_claim(attempt: Attempt) -> QuerySet[WebhookDelivery]:
    return WebhookDelivery.objects.filter(pk=attempt.delivery_id, claim=attempt.claim)


def _lock_stream(stream_id: int | None) -> bool:
    """Locks the stream; returns False when it was erased, and its deliveries with it."""
    if stream_id is None:
        return True
    try:
        log.lock(stream_id)
    except Stream.DoesNotExist:
        return False
    return True


def _make_bodies(rows: Sequence[WebhookDelivery], names: SessionNames) -> dict[str, str]:
    of_events = [row for row in rows if row.stream_id is not None]
    data = _load_data(of_events)
    called = names({row.stream_id for row in of_events if row.stream_id is not None})
    bodies = {row.pk: _test_body(row) for row in rows if row.stream_id is None}
    for row in of_events:
        raw, name = data.get((row.stream_id, row.offset)), called.get(row.stream_id or 0)
        if raw is not None and name is not None:
            bodies[row.pk] = _event_body(row, jsontext.decode(raw), name)
    return bodies


def _load_data(rows: Sequence[WebhookDelivery]) -> dict[tuple[int | None, int | None], str | None]:
    if not rows:
        return {}
    either = Q(*(Q(stream_id=row.stream_id, offset=row.offset) for row in rows), _connector=Q.OR)
    found = Event.objects.filter(either).values_list("stream_id", "offset", "data")
    return {(stream_id, offset): data for stream_id, offset, data in found}


def _event_body(row: WebhookDelivery, data: dict[str, Any], name: str) -> str:
    at = data.get("at") or clock.iso_ms(row.created_at)
    given = {**data, "sessionId": name, "id": row.position.wire if row.position is not None else None}
    return jsontext.encode_text({"type": row.type, "timestamp": at, "data": given})


def _test_body(row: WebhookDelivery) -> str:
    given = {"webhookId": row.endpoint.public_id}
    return jsontext.encode_text({"type": TEST_EVENT, "timestamp": clock.iso_ms(row.created_at), "data": given})
