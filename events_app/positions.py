"""Positions of streams: the reads behind the hub's gap repair, every follower's start, and retention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Expression, OuterRef, QuerySet

from events_app.models import Event, Stream

PAGE = 1000


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """The newest offset of a stream, and the newest one that is no longer kept."""

    head: int
    floor: int


def position(stream_id: int) -> StreamPosition:
    """Returns the stream's position now. Raises Stream.DoesNotExist."""
    row = Stream.objects.filter(pk=stream_id).values_list("head", "floor").first()
    if row is None:
        raise Stream.DoesNotExist(stream_id)
    return StreamPosition(*row)


def heads(stream_ids: Sequence[int]) -> dict[int, int]:
    """Returns the newest offset of each stream that exists, with one query per thousand."""
    found: dict[int, int] = {}
    for start in range(0, len(stream_ids), PAGE):
        page = stream_ids[start : start + PAGE]
        found.update(Stream.objects.filter(pk__in=page).values_list("id", "head"))
    return found


def kept_streams_join(column: str, *, through: str) -> str:
    """Returns SQL that joins the stream of `column`, as `e`, if it still keeps events up to the offset `through`.

    For statements in which retention looks for what it can remove.
    """
    return f"JOIN events_app_stream e ON e.id = {column} AND e.floor < {through}"


def stream_events(stream_id: int | Expression | OuterRef) -> QuerySet[Event]:
    """Selects the rows of a stream, for pages and subqueries. `log.read` reads events with pointers resolved."""
    return Event.objects.filter(stream_id=stream_id)
