"""Removing events: a stream's oldest ones, or the whole stream, in batches that hold no lock for long.

`floor` moves before the rows go, so a reader of a removed position is told `events_dropped` and never finds a
silent gap.
"""

from __future__ import annotations

from django.db import connection

from core_app.database import write_transaction
from events_app import log
from events_app.models import Stream
from events_app.webhooks.removal import stream_deliveries_remove

BATCH = 5000


def events_remove(*, stream_id: int, through: int) -> int:
    """Removes the events up to and with the offset `through`; how many rows went."""
    with write_transaction():
        here = log.lock(stream_id)
        through = min(through, here.head)
        if through > here.floor:
            Stream.objects.filter(pk=stream_id).update(floor=through)
    return _delete(stream_id, here.floor, through)


def stream_erase(*, stream_id: int) -> int:
    """Removes a stream that nobody refers to any more, with its events and deliveries; how many events went."""
    stream = Stream.objects.filter(pk=stream_id).first()
    if stream is None:
        return 0
    if stream.parent_id is not None:
        _uncount(stream.parent_id, stream_id)
    stream_deliveries_remove(stream_id=stream_id)
    removed = _delete(stream_id, 0, stream.head)
    with write_transaction():
        Stream.objects.filter(pk=stream_id).delete()
    return removed


def _delete(stream_id: int, after: int, through: int) -> int:
    removed = 0
    for start in range(after, through, BATCH):
        with write_transaction(), connection.cursor() as cursor:
            cursor.execute(
                'DELETE FROM events_app_event WHERE stream_id = %s AND "offset" > %s AND "offset" <= %s',
                [stream_id, start, min(start + BATCH, through)],
            )
            removed += cursor.rowcount
    return removed


def _uncount(parent_id: int, stream_id: int) -> None:
    """Takes the stream's pointers out of its parent; the parent's offsets stay as they are."""
    head = Stream.objects.values_list("head", flat=True).get(pk=parent_id)
    for start in range(0, head, BATCH):
        with write_transaction(), connection.cursor() as cursor:
            cursor.execute(
                'DELETE FROM events_app_event WHERE stream_id = %s AND "offset" > %s AND "offset" <= %s'
                " AND source_id = %s",
                [parent_id, start, start + BATCH, stream_id],
            )
