"""Deliveries are made where their event is: in the transaction that appends it, so neither is there without the other.

Whether a stream's tenant has a webhook is asked inside the statement that moves the stream's head (`SUBSCRIBED`),
so tenants without one pay a look at an index and no round trip. `BELL` wakes this process's sender after the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from django.db import connection, transaction

from core_app import jsontext
from core_app.database import now_sql
from core_app.lifecycle import process_wide
from events_app.batches import StoredEvent
from events_app.webhooks.models import WebhookDelivery

TEST_EVENT = "test"

SUBSCRIBED = (
    "CASE WHEN EXISTS (SELECT 1 FROM events_app_webhookendpoint w"
    " WHERE w.tenant_id = events_app_stream.tenant_id AND w.disabled_at IS NULL) THEN tenant_id END"
)
"""SQL for `UPDATE events_app_stream … RETURNING`: the tenant when it has an endpoint in use, else NULL."""


class Bell:
    """Rung after commits that made something due; `listener` may be called from any thread."""

    def __init__(self) -> None:
        self.listener: Callable[[], None] | None = None

    def ring(self) -> None:
        """A hint: senders look every second anyway."""
        if self.listener is not None:
            self.listener()


BELL = process_wide(Bell())


def deliveries_add(*, tenant_id: int, stream_id: int, events: Sequence[StoredEvent]) -> None:
    """A row per event and endpoint that asked for its type; the caller holds the stream's lock."""
    rows = []
    for endpoint_id, types, waits, moment in _endpoints(tenant_id, stream_id):
        wanted = [event for event in events if event.type in types]
        for place, event in enumerate(wanted):
            due_at = None if waits or place else moment
            rows.append(
                WebhookDelivery(
                    endpoint_id=endpoint_id, stream_id=stream_id, offset=event.offset, type=event.type, due_at=due_at
                )
            )
    if rows:
        WebhookDelivery.objects.bulk_create(rows)
        transaction.on_commit(BELL.ring)


def _endpoints(tenant_id: int, stream_id: int) -> list[tuple[int, list[str], bool, float]]:
    """Each endpoint in use with its types, whether something of the stream waits for it already, and what time it
    is, in one round trip; written out, because the ORM takes longer over this statement than SQLite."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT w.id, CAST(w.events AS text), EXISTS (SELECT 1 FROM events_app_webhookdelivery d"
            " WHERE d.stream_id = %s AND d.endpoint_id = w.id AND d.state = 'pending'),"
            f" {now_sql()} FROM events_app_webhookendpoint w"
            " WHERE w.tenant_id = %s AND w.disabled_at IS NULL ORDER BY w.id",
            [stream_id, tenant_id],
        )
        return [(pk, jsontext.decode(types), bool(waits), moment) for pk, types, waits, moment in cursor.fetchall()]
