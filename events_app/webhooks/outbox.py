"""The outbox of webhooks: deliveries are written in the transaction that appends their event.

The statement that moves the stream's head also finds out whether its tenant has a webhook (`SUBSCRIBED`), so tenants
without one cost a look at an index and no round trip. `WAKEUP` wakes this process's sender after the commit.
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
"""SQL for `UPDATE events_app_stream … RETURNING`: the tenant when one of its endpoints is enabled, else NULL."""


class SenderWakeup:
    """Wakes the sender after commits that made a delivery due. `listener` may be called from any thread."""

    def __init__(self) -> None:
        self.listener: Callable[[], None] | None = None

    def notify(self) -> None:
        """Wakes the sender of this process, if it has one. A hint: senders look every second anyway."""
        if self.listener is not None:
            self.listener()


WAKEUP = process_wide(SenderWakeup())


def deliveries_add(*, tenant_id: int, stream_id: int, events: Sequence[StoredEvent]) -> None:
    """Writes a delivery for each event and endpoint that subscribes to its type. The caller has locked the stream."""
    rows = []
    for endpoint_id, types, waits, moment in _endpoints(tenant_id, stream_id):
        wanted = [event for event in events if event.type in types]
        for index, event in enumerate(wanted):
            due_at = None if waits or index else moment
            rows.append(
                WebhookDelivery(
                    endpoint_id=endpoint_id,
                    stream_id=stream_id,
                    offset=event.offset,
                    generation=event.generation,
                    type=event.type,
                    due_at=due_at,
                )
            )
    if rows:
        WebhookDelivery.objects.bulk_create(rows)
        transaction.on_commit(WAKEUP.notify)


def _endpoints(tenant_id: int, stream_id: int) -> list[tuple[int, list[str], bool, float]]:
    """Returns each enabled endpoint with its types, whether a delivery of the stream is pending for it, and the time.

    One round trip, and not by the ORM, which takes longer to build this statement than SQLite to execute it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT w.id, CAST(w.events AS text), EXISTS (SELECT 1 FROM events_app_webhookdelivery d"
            " WHERE d.stream_id = %s AND d.endpoint_id = w.id AND d.state = 'pending'),"
            f" {now_sql()} FROM events_app_webhookendpoint w"
            " WHERE w.tenant_id = %s AND w.disabled_at IS NULL ORDER BY w.id",
            [stream_id, tenant_id],
        )
        return [(pk, jsontext.decode(types), bool(waits), moment) for pk, types, waits, moment in cursor.fetchall()]
