"""Positions of streams: the reads behind the hub's gap repair, every follower's start, and retention."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.db.models import Expression, OuterRef, QuerySet

from core_app.metrics import STREAM_RESETS
from events_app.generations import NO_GENERATIONS, Generations, Position
from events_app.models import Event, Incarnation, Stream

PAGE = 1000

Dropped = Mapping[str, object]
"""The data of `events_dropped`: the positions `from` and `to`, and the `reason` where it is not retention."""


class Resumption(NamedTuple):
    """The offset after which a reader goes on, and what it has to be told first.

    `reset`: the reader had seen events that are not in the log. What it has beyond `after` is void.
    """

    after: int
    dropped: Dropped | None = None
    reset: bool = False


@dataclass(frozen=True, slots=True)
class StreamPosition:
    """The newest offset of a stream, the newest one that is no longer kept, and its generations."""

    head: int
    floor: int
    generations: Generations = NO_GENERATIONS

    @property
    def newest(self) -> Position:
        """The position of the newest event."""
        return self.at(self.head)

    def at(self, offset: int) -> Position:
        """Returns the position of an offset of this log."""
        return self.generations.position(offset)

    def common(self, seen: Position) -> int:
        """Returns the newest offset that this log shares with a reader who has seen `seen`."""
        found = self.generations.common(seen, self.head, known=True)
        if found == seen.offset or generation_is_known(seen.generation):
            return found
        return 0

    def resume(self, seen: Position) -> Resumption:
        """Says where a reader goes on that has seen `seen`."""
        common = self.common(seen)
        if common != seen.offset:
            return self.reset(seen, max(common, self.floor))
        return self.skip_removed(common)

    def reset(self, seen: Position, after: int) -> Resumption:
        """Returns the resumption of a reader that has seen what is not in this log, and goes on after `after`."""
        STREAM_RESETS.inc()
        return Resumption(after, {"from": seen.wire, "to": self.at(after).wire, "reason": "reset"}, reset=True)

    def skip_removed(self, after: int) -> Resumption:
        """Returns the resumption after an offset of this log, whose next events may have been removed."""
        if after >= self.floor:
            return Resumption(after)
        return Resumption(self.floor, dropped_range(self.at(after + 1), self.at(self.floor)))


def dropped_range(first: Position, last: Position) -> Dropped:
    """Returns what a reader is told about events that are no longer kept."""
    return {"from": first.wire, "to": last.wire}


def generation_is_known(generation: int) -> bool:
    """Returns True when the generation began in the history of this database. One that began on a server or in a copy
    that is not in use any more is unknown."""
    return generation == 0 or Incarnation.objects.filter(pk=generation).exists()


def position(stream_id: int) -> StreamPosition:
    """Returns the stream's position now. Raises Stream.DoesNotExist."""
    row = Stream.objects.filter(pk=stream_id).values_list("head", "floor", "bases").first()
    if row is None:
        raise Stream.DoesNotExist(stream_id)
    head, floor, bases = row
    return StreamPosition(head, floor, Generations.parse(bases))


def heads(stream_ids: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Returns the newest offset and the newest generation of each stream that exists, with one query per thousand."""
    found: dict[int, tuple[int, int]] = {}
    for start in range(0, len(stream_ids), PAGE):
        page = stream_ids[start : start + PAGE]
        rows = Stream.objects.filter(pk__in=page).values_list("id", "head", "generation")
        found.update({stream_id: (head, generation) for stream_id, head, generation in rows})
    return found


def kept_streams_join(column: str, *, through: str) -> str:
    """Returns SQL that joins the stream of `column`, as `e`, if it still keeps events up to the offset `through`.

    For statements in which retention looks for what it can remove.
    """
    return f"JOIN events_app_stream e ON e.id = {column} AND e.floor < {through}"


def stream_events(stream_id: int | Expression | OuterRef) -> QuerySet[Event]:
    """Selects the rows of a stream, for pages and subqueries. `log.read` reads events with pointers resolved."""
    return Event.objects.filter(stream_id=stream_id)
