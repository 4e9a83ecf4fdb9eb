"""Where streams stand: the reads that the hub's gap repair and every follower's start are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from events_app.models import Stream


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """The newest offset of a stream, and the newest one that is no longer kept."""

    head: int
    floor: int


def position(stream_id: int) -> StreamPosition:
    """Where the stream stands now."""
    row = Stream.objects.filter(pk=stream_id).values_list("head", "floor").first()
    if row is None:
        raise Stream.DoesNotExist(stream_id)
    return StreamPosition(*row)


def heads(stream_ids: Sequence[int]) -> dict[int, int]:
    """The newest offset of each stream, in one query per thousand."""
    found: dict[int, int] = {}
    for start in range(0, len(stream_ids), 1000):
        page = stream_ids[start : start + 1000]
        found.update(Stream.objects.filter(pk__in=page).values_list("id", "head"))
    return found
