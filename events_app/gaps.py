"""Reads behind the hub's repair: what many streams' followers have missed, in one statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from django.db import connection

from events_app import log
from events_app.batches import Batch, StoredEvent

EVENTS = 256
"""Events that are read of one stream at most, the newest ones."""

STREAMS = 200
BYTES = 4 * 1024 * 1024
"""Streams of one statement, and the size at which it ends. Followers read for themselves what is beyond it."""

_SQL = """
    SELECT stream_id, "offset", type, run_id, data, source_id, bases FROM (
        SELECT r.*, SUM(octet_length(r.data)) OVER (
            ORDER BY r.stream_id, r."offset" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
        ) AS sent
        FROM (
            SELECT e.stream_id, e."offset", e.type, COALESCE(s.run_id, e.run_id) AS run_id,
                COALESCE(s.data, e.data) AS data, e.source_id, t.bases
            FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[]) AS g (stream_id, after, through)
            CROSS JOIN LATERAL (
                SELECT * FROM events_app_event x
                WHERE x.stream_id = g.stream_id AND x."offset" > g.after AND x."offset" <= g.through
                ORDER BY x."offset" LIMIT %s
            ) e
            JOIN events_app_stream t ON t.id = g.stream_id
            LEFT JOIN events_app_event s ON s.stream_id = e.source_id AND s."offset" = e.source_offset
        ) r
    ) f
    WHERE COALESCE(sent, 0) < %s ORDER BY stream_id, "offset"
"""


class Gap(NamedTuple):
    """Offsets of a stream that a follower here was not given: those above `after`, up to `through`."""

    stream_id: int
    after: int
    through: int

    @classmethod
    def of(cls, stream_id: int, *, given: Iterable[int], head: int) -> Gap:
        """Returns the gap of followers that were given so much, cut to its newest EVENTS offsets."""
        return cls(stream_id, max(min(given), head - EVENTS), head)


def gaps_read(gaps: Sequence[Gap]) -> dict[int, list[Batch]]:
    """Returns the events of the gaps by stream, as batches of consecutive offsets. What is beyond BYTES is missing."""
    found: dict[int, list[Batch]] = {}
    for stream_id, page in _pages(gaps):
        found[stream_id] = list(_batches(stream_id, page))
    return found


def _pages(gaps: Sequence[Gap]) -> Iterator[tuple[int, log.Page]]:
    if connection.vendor != "postgresql":
        # In the embedded deployment a statement has no round trip, and the layer loses next to nothing.
        for gap in gaps:
            yield gap.stream_id, log.read_page(gap.stream_id, after=gap.after, through=gap.through, limit=EVENTS)
        return
    with connection.cursor() as cursor:
        cursor.execute(_SQL, [*(list(column) for column in zip(*gaps, strict=True)), EVENTS, BYTES])
        rows = cursor.fetchall()
    for stream_id, of_stream in groupby(rows, lambda row: row[0]):
        yield stream_id, log.page_of(stream_id, [row[1:] for row in of_stream])


def _batches(stream_id: int, page: log.Page) -> Iterator[Batch]:
    """Yields batches of consecutive offsets: a group's log has holes where sessions were erased."""
    consecutive: list[StoredEvent] = []
    for event in page.events:
        if consecutive and event.offset != consecutive[-1].offset + 1:
            yield Batch(stream_id, consecutive, page.generations)
            consecutive = []
        consecutive.append(event)
    if consecutive:
        yield Batch(stream_id, consecutive, page.generations)
