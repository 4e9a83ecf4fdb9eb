"""Removal of deliveries: delivered ones after a week, dead ones and those without a working endpoint after a month."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from django.db.models import Exists, OuterRef, Q

from core_app import clock, database
from core_app.database import advisory_lock, write_transaction
from events_app.models import Event
from events_app.webhooks.models import DeliveryState, WebhookDelivery, WebhookEndpoint
from events_app.webhooks.queue_order import next_in_line

DELIVERED_KEPT = timedelta(days=7)
DEAD_KEPT = timedelta(days=30)
"""Pending deliveries to a disabled endpoint are kept as long, from the moment it was disabled."""

BATCH = 1000
ROUND_SECONDS = 600.0
REMOVAL_KEY = 0x776562686F6F6B
"""`webhook` in ASCII: the advisory lock that lets one of several processes remove."""


class RemovalRounds:
    """Removes expired deliveries every ROUND_SECONDS."""

    def __init__(self) -> None:
        self._due_at = 0.0

    async def round(self) -> None:
        """Removes one batch when it is time; after a full one the next call removes another."""
        if time.monotonic() >= self._due_at and await database.run(deliveries_expire) < BATCH:
            self._due_at = time.monotonic() + ROUND_SECONDS


def deliveries_expire() -> int:
    """Removes a batch of deliveries that are too old, unless another process does; returns their number."""
    with advisory_lock(REMOVAL_KEY) as mine:
        if not mine:
            return 0
        moment = clock.now()
        old = Q(state=DeliveryState.DELIVERED, settled_at__lt=moment - DELIVERED_KEPT)
        old |= Q(state=DeliveryState.DEAD, settled_at__lt=moment - DEAD_KEPT)
        return _delete(old) + _delete(_ownerless(moment - DEAD_KEPT))


def endpoint_deliveries_remove(*, endpoint_id: int) -> None:
    """Removes all deliveries of a deleted endpoint, in batches."""
    while _delete(Q(endpoint_id=endpoint_id)) == BATCH:
        pass


def streams_deliveries_remove(*, stream_ids: Sequence[int]) -> None:
    """Removes all deliveries of streams that are being erased, in batches; most streams have none."""
    of_streams = Q(stream_id__in=stream_ids)
    while WebhookDelivery.objects.filter(of_streams).exists():
        _delete(of_streams)


def run_deliveries_remove(*, stream_id: int, run_id: str, first: int, last: int) -> None:
    """Removes the deliveries of one run, which is being erased and has offsets from `first` to `last`. The caller has
    locked the stream."""
    of_run = Event.objects.filter(stream_id=stream_id, offset__range=(first, last), run_id=run_id).values("offset")
    rows = WebhookDelivery.objects.filter(stream_id=stream_id, offset__in=of_run)
    endpoints = set(rows.values_list("endpoint_id", flat=True))
    rows.delete()
    for endpoint_id in endpoints:
        next_in_line(endpoint_id=endpoint_id, stream_id=stream_id)


def _ownerless(before: object) -> Q:
    """Selects pending deliveries to an endpoint that was deleted during the commit, or has been disabled for long."""
    there = WebhookEndpoint.objects.filter(pk=OuterRef("endpoint_id"))
    off = there.filter(disabled_at__lt=before)
    return Q(state=DeliveryState.PENDING) & (~Q(Exists(there)) | Q(Exists(off)))


def _delete(which: Q) -> int:
    with write_transaction():
        keys = list(WebhookDelivery.objects.filter(which).values_list("pk", flat=True)[:BATCH])
        rows = WebhookDelivery.objects.filter(pk__in=keys)
        # In the order in which a sender releases claims; any other could deadlock.
        locked = list(rows.order_by("pk").select_for_update().values_list("pk", flat=True)) if keys else []
        return WebhookDelivery.objects.filter(pk__in=locked).delete()[0] if locked else 0
