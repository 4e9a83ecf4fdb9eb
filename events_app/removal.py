"""Removing events: a stream's oldest ones, or all of many streams, in batches that hold no lock for long.

`floor` moves in the transaction in which the rows below it go, so a reader of a removed position is told
`events_dropped` and never finds a silent gap, and what an end in between left is found again above it.
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
PACE = process_wide(BatchSizer(), reset=BatchSizer.reset)

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


def streams_empty(*, stream_ids: Sequence[int], go_on: GoOn = lambda: True) -> int:
    """Removes the events and deliveries of streams to which nobody writes any more, and what their parents count of
    them; how many events went. `streams_remove` is what is left to do when it was not stopped."""
    streams = list(Stream.objects.filter(pk__in=stream_ids).order_by("pk"))
    of_parent: dict[int, list[int]] = defaultdict(list)
    for stream in streams:
        if stream.parent_id is not None:
            of_parent[stream.parent_id].append(stream.pk)
    for parent_id, sources in of_parent.items():
        _uncount(parent_id, sources, go_on)
    streams_deliveries_remove(stream_ids=[stream.pk for stream in streams])
    return _events_remove_all(streams, go_on)


def streams_remove(*, stream_ids: Sequence[int]) -> None:
    """Removes empty streams in the transaction that removes what referred to them."""
    Stream.objects.filter(pk__in=stream_ids).delete()


def run_events_replace(*, stream_id: int, run_id: str, data: str) -> None:
    """Puts `data` in place of what each event of a run says. The caller has locked the stream's row."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_app_event SET data = %s WHERE stream_id = %s AND run_id = %s", [data, stream_id, run_id]
        )


def removed_sources_through(stream_id: int) -> int:
    """The newest offset of a parent stream whose event its source no longer has; 0 without one."""
    with connection.cursor() as cursor:
        cursor.execute(
            'SELECT COALESCE(MAX(e."offset"), 0) FROM events_app_event e'
            " JOIN events_app_stream s ON s.id = e.source_id"
            " WHERE e.stream_id = %s AND e.source_offset <= s.floor",
            [stream_id],
        )
        return int(cursor.fetchone()[0])


def _events_remove_all(streams: Sequence[Stream], go_on: GoOn) -> int:
    """All events of the streams: of as many small ones at once as the pace allows, of a larger one in parts."""
    removed, left = 0, deque(streams)
    while left and go_on():
        room = PACE.limit(BATCH)
        small: list[int] = []
        while left and left[0].head - left[0].floor <= room:
            room -= left[0].head - left[0].floor
            small.append(left.popleft().pk)
        if small:
            removed += _events_remove_of(small)
        else:
            large = left.popleft()
            removed += events_remove(stream_id=large.pk, through=large.head, go_on=go_on)
    return removed


def _events_remove_of(stream_ids: Sequence[int]) -> int:
    marks = ", ".join(["%s"] * len(stream_ids))
    with write_transaction(), PACE.measure(BATCH), connection.cursor() as cursor:
        log.lock_all(stream_ids)
        Stream.objects.filter(pk__in=stream_ids).update(floor=F("head"))
        cursor.execute(f"DELETE FROM events_app_event WHERE stream_id IN ({marks})", list(stream_ids))
        return int(cursor.rowcount)


def _uncount(parent_id: int, sources: Sequence[int], go_on: GoOn) -> None:
    """Takes the streams' pointers out of their parent; the parent's offsets stay as they are."""
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
