"""The runs that retention has to look at: those that ended since it last did, a page of them per statement.

The cursor of a tenant moves over the ends of its runs. It stays before a page in which an unfinished run keeps events
of an ended one, so that these are found again. The database leaves out sessions with nothing to remove.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from django.db import connection

from core_app.database import write_transaction
from events_app.positions import kept_streams_join
from sessions_app.models import UNFINISHED, RetentionCursor, Run

PAGE = 5000
"""Runs of one statement."""

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

_UNFINISHED = ", ".join(f"'{state}'" for state in UNFINISHED)
_PAGE_SQL = f"""
    SELECT s.stream_id, e.floor, r.newest, (
        SELECT MIN(u.first_offset) FROM sessions_app_run u
        WHERE u.session_id = r.session_id AND u.state IN ({_UNFINISHED})
    )
    FROM (
        SELECT session_id, MAX(last_offset) AS newest FROM sessions_app_run
        WHERE tenant_id = %s AND ended_at > %s AND ended_at <= %s GROUP BY session_id
    ) r
    JOIN sessions_app_agentsession s ON s.id = r.session_id
    {kept_streams_join("s.stream_id", through="r.newest")}
"""  # noqa: S608  (states and join are constants)


class OldRuns:
    """The streams of a tenant with events of runs that ended up to `before`, each with the newest offset to remove."""

    def __init__(self, *, tenant_id: int, before: datetime) -> None:
        self._tenant_id = tenant_id
        self._before = before
        self._done = before
        """Nothing is left to remove of runs that ended up to then, once all streams have been dealt with."""

    def __iter__(self) -> Iterator[tuple[int, int]]:
        cursor = RetentionCursor.objects.filter(tenant_id=self._tenant_id).values_list("ended_at", flat=True).first()
        page = cursor or _BEGINNING
        while page < self._before:
            end = self._page_end(page)
            for stream_id, floor, newest, needed in self._read(page, end):
                if needed is not None and needed <= newest:
                    self._done = min(self._done, page)
                through = newest if needed is None else min(newest, needed - 1)
                if through > floor:
                    yield stream_id, through
            page = end

    def save(self) -> None:
        """Moves the tenant's cursor, after all streams have been dealt with."""
        with write_transaction():
            RetentionCursor.objects.update_or_create(tenant_id=self._tenant_id, defaults={"ended_at": self._done})

    def _page_end(self, page: datetime) -> datetime:
        ends = Run.objects.filter(tenant_id=self._tenant_id, ended_at__gt=page, ended_at__lte=self._before)
        last = ends.order_by("ended_at").values_list("ended_at", flat=True)[PAGE - 1 : PAGE].first()
        return last or self._before

    def _read(self, page: datetime, end: datetime) -> list[tuple[int, int, int, int | None]]:
        moments = [connection.ops.adapt_datetimefield_value(moment) for moment in (page, end)]
        with connection.cursor() as cursor:
            cursor.execute(_PAGE_SQL, [self._tenant_id, *moments])
            return list(cursor.fetchall())
