"""Removal of events: the oldest ones of a stream, or all of many streams, in batches that hold no lock for long.

`floor` moves in the transaction that removes the rows below it. So a client at a removed position gets
`events_dropped` and never a silent gap, and a removal that was cut off goes on above the floor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Sequence

from django.db import connection
from django.db.models import F

from core_app.batch_size import BatchSizer
from core_app.database import write_transaction
from core_app.lifecycle import process_wide
from events_app import log
from events_app.models import Event, Stream
from events_app.webhooks.removal import streams_deliveries_remove

BATCH = 5000
CHOSEN_BATCH = 500
BATCH_SIZE = process_wide(BatchSizer(), reset=BatchSizer.reset)

_POINTERS_SQL = 'DELETE FROM events_app_event WHERE (stream_id, "offset") IN ({})'

GoOn = Callable[[], bool]
"""Called before each batch. When it returns False the removal ends, and the caller repeats it later."""


def events_remove(*, stream_id: int, through: int, go_on: GoOn = lambda: True) -> int:
    """Removes the events up to and with the offset `through`; returns the number of removed rows."""
    removed = 0
    while go_on():
        with write_transaction(), BATCH_SIZE.measure(BATCH), connection.cursor() as cursor:
            here = log.lock(stream_id)
            floor = min(here.floor + BATCH_SIZE.limit(BATCH), through, here.head)
            if floor <= here.floor:
                break
            Stream.objects.filter(pk=stream_id).update(floor=floor)
            cursor.execute('DELETE FROM events_app_event WHERE stream_id = %s AND "offset" <= %s', [stream_id, floor])
            removed += cursor.rowcount
        if floor == min(through, here.head):
            break
    return removed


def counted_events_remove(*, stream_id: int, through: int, go_on: GoOn = lambda: True) -> int:
    """Removes a stream's events up to `through`, and the events of its parents up to the newest pointer to one of them.

    The parents come first: the stream's floor tells what is left to do, so that an interrupted removal is completed by
    the next. Returns the number of removed rows.
    """
    removed = sum(
        events_remove(stream_id=parent_id, through=newest, go_on=go_on)
        for parent_id, newest in _newest_pointers(stream_id, through)
    )
    return removed + events_remove(stream_id=stream_id, through=through, go_on=go_on)


def _newest_pointers(source_id: int, through: int) -> list[tuple[int, int]]:
    """Returns the parents that point to the source's events up to `through`, each with its newest such offset."""
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT stream_id, MAX("offset") FROM events_app_event'
            " WHERE source_id = %s AND source_offset <= %s GROUP BY stream_id ORDER BY stream_id",
            [source_id, through],
        )
        return list(cursor.fetchall())


def streams_empty(*, stream_ids: Sequence[int], go_on: GoOn = lambda: True) -> int:
    """Removes the events and deliveries of streams that get no more events, and their parents' pointers to them.

    Returns the number of removed events. Unless `go_on` ended it, only `streams_remove` is left to do.
    """
    streams = list(Stream.objects.filter(pk__in=stream_ids).order_by("pk"))
    _remove_pointers([stream.pk for stream in streams], go_on)
    streams_deliveries_remove(stream_ids=[stream.pk for stream in streams])
    return _events_remove_all(streams, go_on)


def streams_remove(*, stream_ids: Sequence[int]) -> None:
    """Removes empty streams, in the transaction that removes what referred to them; their tokens go with them."""
    Stream.objects.filter(pk__in=stream_ids).delete()


def run_events_replace(*, stream_id: int, run_id: str, first: int, last: int, data: str) -> None:
    """Replaces the data of all events of an ended run, which has offsets from `first` to `last`.

    Each batch of offsets is a transaction of its own, so that the stream is never locked for long.
    """
    start = first - 1
    while start < last:
        end = min(last, start + BATCH_SIZE.limit(BATCH))
        with write_transaction(), BATCH_SIZE.measure(BATCH), connection.cursor() as cursor:
            log.lock(stream_id)
            cursor.execute(
                "UPDATE events_app_event SET data = %s"
                ' WHERE stream_id = %s AND "offset" > %s AND "offset" <= %s AND run_id = %s',
                [data, stream_id, start, end, run_id],
            )
        start = end


def chosen_events_remove(*, stream_id: int, types: Collection[str], chosen: Callable[[str], bool]) -> None:
    """Removes the events of some types whose encoded data is `chosen`; their offsets stay empty. Costs a scan."""
    rows = Event.objects.filter(stream_id=stream_id, type__in=types).values_list("offset", "data")
    offsets = [offset for offset, data in rows.iterator() if data and chosen(data)]
    for start in range(0, len(offsets), CHOSEN_BATCH):
        with write_transaction():
            log.lock(stream_id)
            Event.objects.filter(stream_id=stream_id, offset__in=offsets[start : start + CHOSEN_BATCH]).delete()


def _events_remove_all(streams: Sequence[Stream], go_on: GoOn) -> int:
    """Removes all events of the streams: of many small ones in one transaction, of a large one in several."""
    removed, remaining = 0, deque(streams)
    while remaining and go_on():
        capacity = BATCH_SIZE.limit(BATCH)
        small: list[int] = []
        while remaining and remaining[0].head - remaining[0].floor <= capacity:
            capacity -= remaining[0].head - remaining[0].floor
            small.append(remaining.popleft().pk)
        if small:
            removed += _events_remove_of(small)
        else:
            large = remaining.popleft()
            removed += events_remove(stream_id=large.pk, through=large.head, go_on=go_on)
    return removed


def _events_remove_of(stream_ids: Sequence[int]) -> int:
    marks = ", ".join(["%s"] * len(stream_ids))
    with write_transaction(), BATCH_SIZE.measure(BATCH), connection.cursor() as cursor:
        log.lock_all(stream_ids)
        Stream.objects.filter(pk__in=stream_ids).update(floor=F("head"))
        cursor.execute(f"DELETE FROM events_app_event WHERE stream_id IN ({marks})", list(stream_ids))
        return int(cursor.rowcount)


def _remove_pointers(sources: Sequence[int], go_on: GoOn) -> None:
    """Removes the pointers of parents to the sources' events, a batch at a time; the other offsets stay as they are."""
    if not sources:
        return
    marks = ", ".join(["%s"] * len(sources))
    batch = f'SELECT stream_id, "offset" FROM events_app_event WHERE source_id IN ({marks}) LIMIT %s'
    if connection.vendor == "postgresql":
        # Retention of the parent may be removing the same rows. It is not waited for, which could end in a deadlock.
        sql = f"WITH batch AS ({batch} FOR UPDATE SKIP LOCKED) {_POINTERS_SQL.format('TABLE batch')}"
    else:
        sql = _POINTERS_SQL.format(batch)
    removed = -1
    while removed and go_on():
        with write_transaction(), BATCH_SIZE.measure(BATCH), connection.cursor() as cursor:
            cursor.execute(sql, [*sources, BATCH_SIZE.limit(BATCH)])
            removed = cursor.rowcount
