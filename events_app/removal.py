"""Removal of events: the oldest ones of a stream, or all of many streams, in batches that hold no lock for long.

`floor` moves in the transaction that removes the rows below it. So a client at a removed position gets
`events_dropped` and never a silent gap, and a removal that was cut off goes on above the floor.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence

from django.db import connection
from django.db.models import F

from core_app.batch_size import BatchSizer
from core_app.database import write_transaction
from core_app.lifecycle import process_wide
from events_app import log
from events_app.models import Stream
from events_app.webhooks.removal import streams_deliveries_remove

BATCH = 5000
BATCH_SIZE = process_wide(BatchSizer(), reset=BatchSizer.reset)

GoOn = Callable[[], bool]
"""Called before each batch. When it returns False the removal ends, and the caller repeats it later."""


def events_remove(*, stream_id: int, through: int, go_on: GoOn = lambda: True) -> int:
    """Removes the events up to and with the offset `through`; returns the number of removed rows."""
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


def streams_empty(*, stream_ids: Sequence[int], go_on: GoOn = lambda: True) -> int:
    """Removes the events and deliveries of streams that get no more events, and their parents' pointers to them.

    Returns the number of removed events. Unless `go_on` ended it, only `streams_remove` is left to do.
    """
    streams = list(Stream.objects.filter(pk__in=stream_ids).order_by("pk"))
    of_parent: dict[int, list[int]] = defaultdict(list)
    for stream in streams:
        if stream.parent_id is not None:
            of_parent[stream.parent_id].append(stream.pk)
    for parent_id, sources in of_parent.items():
        _remove_pointers(parent_id, sources, go_on)
    streams_deliveries_remove(stream_ids=[stream.pk for stream in streams])
    return _events_remove_all(streams, go_on)


def streams_remove(*, stream_ids: Sequence[int]) -> None:
    """Removes empty streams, in the transaction that removes what referred to them; their tokens go with them."""
    Stream.objects.filter(pk__in=stream_ids).delete()


def run_events_replace(*, stream_id: int, run_id: str, data: str) -> None:
    """Replaces the data of every event of a run. The caller has locked the stream's row."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_app_event SET data = %s WHERE stream_id = %s AND run_id = %s", [data, stream_id, run_id]
        )


def removed_sources_through(stream_id: int) -> int:
    """Returns the newest offset of a parent stream whose source no longer has the event; 0 without one."""
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT COALESCE(MAX(e."offset"), 0) FROM events_app_event e'
            " JOIN events_app_stream s ON s.id = e.source_id"
            " WHERE e.stream_id = %s AND e.source_offset <= s.floor",
            [stream_id],
        )
        return int(cursor.fetchone()[0])


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


def _remove_pointers(parent_id: int, sources: Sequence[int], go_on: GoOn) -> None:
    """Removes the parent's pointers to the streams; its other offsets stay as they are."""
    marks = ", ".join(["%s"] * len(sources))
    head = Stream.objects.values_list("head", flat=True).get(pk=parent_id)
    for start in range(0, head, BATCH):
        if not go_on():
            return
        with write_transaction(), connection.cursor() as cursor:
            cursor.execute(
                'DELETE FROM events_app_event WHERE stream_id = %s AND "offset" > %s AND "offset" <= %s'
                f" AND source_id IN ({marks})",
                [parent_id, start, start + BATCH, *sources],
            )
