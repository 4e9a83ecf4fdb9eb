"""The event log: `append` inside a service's transaction, and reading events back.

Every writer locks the stream's row first and assigns offsets from its head there, so offsets have no gap and their
order is the order of commits. Appended events are announced after the commit, never before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import reduce
from operator import or_
from typing import Any, NamedTuple

from django.db import connection, transaction
from django.db.models import Q

from core_app.clock import iso_ms, now
from core_app.database import now_sql
from core_app.event_size import truncate_event
from core_app.metrics import FENCED
from events_app.batches import Batch, StoredEvent
from events_app.bulk_insert import Row, generations_set, insert
from events_app.generations import MAX_BASES, NO_GENERATIONS, Generations
from events_app.hub import HUB
from events_app.incarnation import GENERATION_FROM, GENERATION_MOVE
from events_app.lease import Fence, LeaseLost
from events_app.models import Event as EventRow
from events_app.models import Stream
from events_app.positions import StreamPosition
from events_app.types import Event, vocabulary_get, webhook_types
from events_app.webhooks.outbox import SUBSCRIBED, deliveries_add

PAGE_BYTES = 1024 * 1024
"""A read ends with the event that brings its data to this size: a thousand events may be a quarter of a gigabyte, and a
follower that catches up holds one read in memory."""

FETCH_ROWS = 32
"""Rows fetched from SQLite at a time; one by one they took a fifth of a read's time."""

REMOVED_DATA = b"{}"
"""The data of a pointer whose event is no longer kept, because retention empties a session before its group."""


def stream_create(*, kind: str, parent_id: int | None = None, tenant_id: int | None = None) -> Stream:
    """Creates an empty stream. `tenant_id` is the tenant whose webhooks get its events. Raises UnknownStreamKind."""
    vocabulary_get(kind)
    with connection.cursor() as cursor:
        # Its generation begins with it: an id that a restore gives to another stream is then no stream of before.
        cursor.execute(
            "INSERT INTO events_app_stream"
            " (kind, parent_id, tenant_id, head, floor, epoch, lease_expires, generation, bases)"
            " SELECT %s, %s, %s, 0, 0, 0, 0, i.n, CASE WHEN i.n > 0 THEN ' ' || i.n || ':0' ELSE '' END"
            f" {GENERATION_FROM} RETURNING id, generation, bases",
            [kind, parent_id, tenant_id],
        )
        pk, generation, bases = cursor.fetchone()
    return Stream(pk=pk, kind=kind, parent_id=parent_id, tenant_id=tenant_id, generation=generation, bases=bases)


def stream_parent_set(stream_id: int, parent_id: int | None) -> None:
    """Lets another stream, or none, count the stream's events from now on. The caller has locked the row."""
    Stream.objects.filter(pk=stream_id).update(parent_id=parent_id)


def lock(stream_id: int) -> StreamPosition:
    """Locks the stream's row until the transaction ends, and returns its position. It is the first statement of every
    transaction that changes something of the stream. On SQLite the transaction itself (IMMEDIATE) is the lock."""
    suffix = " FOR UPDATE" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT head, floor, bases FROM events_app_stream WHERE id = %s{suffix}", [stream_id])
        row = cursor.fetchone()
    if row is None:
        raise Stream.DoesNotExist(stream_id)
    head, floor, bases = row
    return StreamPosition(head, floor, Generations.parse(bases))


def lock_all(stream_ids: Sequence[int]) -> None:
    """Locks the rows of several streams, in the order of their ids as all code does. Skips streams that are gone."""
    if connection.vendor == "postgresql" and stream_ids:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT id FROM events_app_stream WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [list(stream_ids)]
            )


def lock_fenced(fence: Fence) -> None:
    """Locks the stream's row like `lock`, for a fenced write. Raises LeaseLost unless the lease is alive.

    A row that changed while the lock was waited for is compared anew, so a lease that was taken meanwhile is noticed;
    one that merely ended is still nobody else's while the lock is held.
    """
    suffix = " FOR UPDATE" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT owner = %s AND epoch = %s AND lease_expires > {now_sql()} FROM events_app_stream"
            f" WHERE id = %s{suffix}",
            [fence.owner, fence.epoch, fence.stream_id],
        )
        row = cursor.fetchone()
    if row is None or not row[0]:
        FENCED.inc()
        raise LeaseLost(fence.stream_id)


def append(
    stream_id: int, events: Sequence[Event], *, run_id: str | None = None, fence: Fence | None = None
) -> list[StoredEvent]:
    """Appends `events` in the caller's transaction and returns them with their offsets.

    With a `fence` nothing is written unless its lease is alive: LeaseLost. The stream's parent counts each event
    with a pointer in the same transaction, and the tenant's webhooks get a delivery of it there.
    """
    if not events:
        return []
    moved = _advance(stream_id, len(events), has_webhooks=_has_webhooks(events), fence=fence)
    vocabulary, at = vocabulary_get(moved.kind), iso_ms(now())
    first, generations = moved.head - len(events) + 1, Generations.parse(moved.bases)
    newest = generations.newest
    stored = [
        StoredEvent(stream_id, first + index, event.type, run_id, truncate_event(data), None, newest)
        for index, event in enumerate(events)
        for data in [vocabulary.encode(event, run_id=run_id, at=at)]
    ]
    insert([Row.of(event) for event in stored])
    batches = [Batch(stream_id, stored, generations)]
    if moved.parent_id is not None:
        batches.append(_count(moved.parent_id, stored))
    _deliveries_add(moved, stored)
    transaction.on_commit(lambda: HUB.publish(batches))
    return stored


def append_each(stream_ids: Sequence[int], event: Event) -> None:
    """Appends the event to each of the streams as `append` does. The caller has locked them with `lock_all`."""
    if not stream_ids:
        return
    streams, at = _advance_each(stream_ids, has_webhooks=_has_webhooks([event])), iso_ms(now())
    kinds = {moved.kind for moved in streams}
    data = {kind: truncate_event(vocabulary_get(kind).encode(event, run_id=None, at=at)) for kind in kinds}
    generations = {moved.stream_id: Generations.parse(moved.bases) for moved in streams}
    stored = {
        moved.stream_id: StoredEvent(
            moved.stream_id, moved.head, event.type, None, data[moved.kind], None, generations[moved.stream_id].newest
        )
        for moved in streams
    }
    insert([Row.of(one) for one in stored.values()])
    batches = [Batch(stream_id, [one], generations[stream_id]) for stream_id, one in stored.items()]
    of_parent: dict[int, list[StoredEvent]] = defaultdict(list)
    for moved in streams:
        if moved.parent_id is not None:
            of_parent[moved.parent_id].append(stored[moved.stream_id])
        _deliveries_add(moved, [stored[moved.stream_id]])
    batches += [_count(parent_id, of_parent[parent_id]) for parent_id in sorted(of_parent)]
    transaction.on_commit(lambda: HUB.publish(batches))


class _Moved(NamedTuple):
    """A stream whose head was moved. `tenant_id` is None unless the tenant has webhooks in use."""

    stream_id: int
    head: int
    kind: str
    parent_id: int | None
    bases: str
    tenant_id: int | None


def _advance(stream_id: int, count: int, *, has_webhooks: bool = False, fence: Fence | None = None) -> _Moved:
    """Moves the head by `count`. `has_webhooks`: webhooks may subscribe to one of the events."""
    sql = f"UPDATE events_app_stream SET head = head + %s, {GENERATION_MOVE} {GENERATION_FROM} WHERE id = %s"
    params: list[Any] = [count, stream_id]
    if fence is not None:
        sql += f" AND owner = %s AND epoch = %s AND lease_expires > {now_sql()}"
        params += [fence.owner, fence.epoch]
    with connection.cursor() as cursor:
        cursor.execute(f"{sql} {_returning_sql(has_webhooks)}", params)
        row = cursor.fetchone()
    if row is None and fence is not None:
        FENCED.inc()
        raise LeaseLost(stream_id)
    if row is None:
        raise Stream.DoesNotExist(stream_id)
    return _bounded(_Moved(*row))


def _advance_each(stream_ids: Sequence[int], *, has_webhooks: bool) -> list[_Moved]:
    """Moves the head of each stream by one; returns them in the order of their ids."""
    marks = ", ".join(["%s"] * len(stream_ids))
    with connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE events_app_stream SET head = head + 1, {GENERATION_MOVE} {GENERATION_FROM}"
            f" WHERE id IN ({marks}) {_returning_sql(has_webhooks)}",
            list(stream_ids),
        )
        return sorted(_bounded(_Moved(*row)) for row in cursor.fetchall())


def _returning_sql(has_webhooks: bool) -> str:
    return f"RETURNING id, head, kind, parent_id, bases, {SUBSCRIBED if has_webhooks else 'NULL'}"


def _bounded(moved: _Moved) -> _Moved:
    """Shortens the list of generations that has become too long with the one that has just begun."""
    if moved.bases.count(" ") <= MAX_BASES:
        return moved
    generations = Generations.parse(moved.bases)
    generations_set({moved.stream_id: generations})
    return moved._replace(bases=generations.text)


def _has_webhooks(events: Sequence[Event]) -> bool:
    types = webhook_types()
    return any(event.type in types for event in events)


def _deliveries_add(moved: _Moved, events: Sequence[StoredEvent]) -> None:
    if moved.tenant_id is not None:
        types = vocabulary_get(moved.kind).webhooks
        wanted = [event for event in events if event.type in types]
        deliveries_add(tenant_id=moved.tenant_id, stream_id=moved.stream_id, events=wanted)


def _count(parent_id: int, events: Sequence[StoredEvent]) -> Batch:
    moved = _advance(parent_id, len(events))
    first, generations = moved.head - len(events) + 1, Generations.parse(moved.bases)
    newest = generations.newest
    counted = [event.counted_in(parent_id, first + index, newest) for index, event in enumerate(events)]
    insert([Row.pointer(here, source) for here, source in zip(counted, events, strict=True)])
    return Batch(parent_id, counted, generations)


class Page(NamedTuple):
    """Events as they were read, and the generations that the stream had at that moment; without events none."""

    events: list[StoredEvent]
    generations: Generations


def read(
    stream_id: int, *, after: int, limit: int, types: frozenset[str] | None = None, through: int | None = None
) -> list[StoredEvent]:
    """Returns at most `limit` events with offsets above `after` and up to `through`, oldest first, with pointers
    resolved. It returns fewer when they reach PAGE_BYTES; `read_was_cut` says whether there may be more."""
    return read_page(stream_id, after=after, limit=limit, types=types, through=through).events


def read_page(
    stream_id: int, *, after: int, limit: int, types: frozenset[str] | None = None, through: int | None = None
) -> Page:
    """Reads as `read` does. A reader that was not told `after` by the same transaction compares the generations."""
    sql = (
        'SELECT e."offset", e.type, COALESCE(s.run_id, e.run_id) AS run_id, COALESCE(s.data, e.data) AS data,'
        " e.source_id, (SELECT bases FROM events_app_stream WHERE id = %s) AS bases"
        " FROM events_app_event e LEFT JOIN events_app_event s"
        ' ON s.stream_id = e.source_id AND s."offset" = e.source_offset'
        ' WHERE e.stream_id = %s AND e."offset" > %s'
    )
    params: list[Any] = [stream_id, stream_id, after]
    if through is not None:
        sql += ' AND e."offset" <= %s'
        params.append(through)
    if types is not None:
        sql += f" AND e.type IN ({', '.join(['%s'] * len(types))})" if types else " AND 1 = 0"
        params += sorted(types)
    return page_of(stream_id, _fetch_page(sql + ' ORDER BY e."offset" LIMIT %s', [*params, limit]))


def read_newest(stream_id: int, *, texts: Mapping[str, str], limit: int) -> list[StoredEvent]:
    """Returns the newest events of some types, oldest of them first. `texts` maps each type to a text that its encoded
    data contains, so that a reader of few events does not fetch many. Costs a scan of the stream; at most `limit`."""
    wanted = reduce(or_, (Q(type=type_, data__contains=text) for type_, text in texts.items()))
    rows = EventRow.objects.filter(wanted, stream_id=stream_id).order_by("-offset")
    found = list(rows.values_list("offset", "type", "run_id", "data")[:limit])
    return [
        StoredEvent(stream_id, offset, type_, run_id, (data or "").encode())
        for offset, type_, run_id, data in found[::-1]
    ]


def page_of(stream_id: int, rows: Sequence[tuple[Any, ...]]) -> Page:
    """Returns the page that rows of offset, type, run, data, source and the stream's bases are."""
    generations = Generations.parse(rows[0][5] or "") if rows else NO_GENERATIONS
    events = [
        StoredEvent(stream_id, offset, type_, run_id, data.encode() if data else REMOVED_DATA, source)
        for offset, type_, run_id, data, source, _ in rows
    ]
    if generations.bases:
        for event in events:
            event.generation = generations.position(event.offset).generation
    return Page(events, generations)


def read_was_cut(events: Sequence[StoredEvent], limit: int) -> bool:
    """True when a `read` with this limit may have left out events that it was asked for."""
    return len(events) == limit or sum(len(event.data) for event in events) >= PAGE_BYTES


def _fetch_page(sql: str, params: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Returns the rows of the statement up to the one that brings their data to PAGE_BYTES; fetches no others."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # PostgreSQL knows the sizes of large values without reading them.
            over = 'OVER (ORDER BY r."offset" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)'
            summed = f"SELECT r.*, SUM(octet_length(r.data)) {over} AS sent FROM ({sql}) r"
            columns = '"offset", type, run_id, data, source_id, bases'
            fitting = f"SELECT {columns} FROM ({summed}) f WHERE COALESCE(sent, 0) < %s"
            cursor.execute(f'{fitting} ORDER BY "offset"', [*params, PAGE_BYTES])
            return list(cursor.fetchall())
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = []
        size = 0
        while some := cursor.fetchmany(FETCH_ROWS):
            for row in some:
                rows.append(row)
                size += len(row[3] or "")
                if size >= PAGE_BYTES:
                    return rows
        return rows
