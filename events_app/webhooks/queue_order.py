"""The queue of one session's deliveries to one endpoint: only its first delivery may be due.

Code that adds to a queue, settles its first delivery or removes deliveries holds the stream's lock, so a queue with
pending deliveries always has one that is due.
"""

from __future__ import annotations

from django.db import transaction

from core_app.database import database_now
from events_app.webhooks.models import DeliveryState, WebhookDelivery
from events_app.webhooks.outbox import WAKEUP


def next_in_line(*, endpoint_id: int, stream_id: int) -> None:
    """Makes the endpoint's first pending delivery of the stream due, unless one is. The stream is locked."""
    pending = WebhookDelivery.objects.filter(
        stream_id=stream_id, endpoint_id=endpoint_id, state=DeliveryState.PENDING
    ).order_by("offset")
    rows = list(pending.values_list("pk", "due_at")[:1])
    if rows and rows[0][1] is None and not pending.filter(due_at__isnull=False).exists():
        WebhookDelivery.objects.filter(pk=rows[0][0]).update(due_at=database_now())
        transaction.on_commit(WAKEUP.notify)
