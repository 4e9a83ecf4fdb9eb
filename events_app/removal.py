"""Removing events: a stream's oldest ones, or the whole stream, in batches that hold no lock for long.

`floor` moves in the transaction in which the rows below it go, so a reader of a removed position is told
`events_dropped` and never finds a silent gap, and what an end in between left is found again above it.
"""

from __future__ import annotations

from collections.abc import Callable

from django.db import connection

from core_app.database import write_transaction
from events_app import log
from events_app.models import Stream
from events_app.webhooks.removal import stream_deliveries_remove

BATCH = 5000


GoOn = Callable[[], bool]
"""Asked before each batch; who stopped asks for the same again later."""


def events_remove(*, stream_id: int, through: int, go_on: GoOn = lambda: True) -> int:
    """Removes the events up to and with the offset `through`; how many rows went."""
    removed = 0
    while go_on():
        with write_transaction(), connection.cursor() as cursor:
            here = log.lock(stream_id)
            floor = min(here.floor + BATCH, through, here.head)
            if floor <= here.floor:
                break
            Stream.objects.filter(pk=stream_id).update(floor=floor)
            cursor.execute('DELETE FROM events_app_event WHERE stream_id = %s AND "offset" <= %s', [stream_id, floor])
            removed += cursor.rowcount
        if floor == min(through, here.head):
            break
    return removed


def stream_empty(*, stream_id: int, go_on: GoOn = lambda: True) -> int:
    """Removes the events and deliveries of a stream to which nobody writes any more, and what its parent counts of
    it; how many events went. `stream_remove` is what is left to do when it was not stopped."""
    stream = Stream.objects.filter(pk=stream_id).first()
    if stream is None:
        return 0
    if stream.parent_id is not None:
        _uncount(stream.parent_id, stream_id, go_on)
    stream_deliveries_remove(stream_id=stream_id)
    return events_remove(stream_id=stream_id, through=stream.head, go_on=go_on)


def stream_remove(*, stream_id: int) -> None:
    """Removes an empty stream in the transaction that removes what referred to it."""
    Stream.objects.filter(pk=stream_id).delete()


def _uncount(parent_id: int, stream_id: int, go_on: GoOn) -> None:
    """Takes the stream's pointers out of its parent; the parent's offsets stay as they are."""
    head = Stream.objects.values_list("head", flat=True).get(pk=parent_id)
    for start in range(0, head, BATCH):
        if not go_on():
            return
        with write_transaction(), connection.cursor() as cursor:
            cursor.execute(
                'DELETE FROM events_app_event WHERE stream_id = %s AND "offset" > %s AND "offset" <= %s'
                " AND source_id = %s",
                [parent_id, start, start + BATCH, stream_id],
            )
