"""One group commit: the streams of many legs locked in id order, checked against their fences, and written together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from django.conf import settings
from django.db import connection

from core_app.clock import iso_ms, now
from core_app.database import now_sql
from core_app.event_size import truncate_event
from events_app.batches import Batch, StoredEvent
from events_app.bulk_insert import Row, generations_set, insert_and_move
from events_app.generations import Generations
from events_app.incarnation import GENERATION_NOW
from events_app.lease import Fence, LeaseLost
from events_app.models import Stream
from events_app.types import Event, Vocabulary, vocabulary_get


class Outcome(Enum):
    """The result of a submission that did not fail. A busy stream is submitted again."""

    COMMITTED = "committed"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class GroupBusy:
    """The result of a submission whose stream was free, and whose group another transaction has locked."""

    group_id: int


Result = Outcome | GroupBusy | BaseException


@dataclass(frozen=True, slots=True)
class Submission:
    """Events that one leg wants committed, and the fence that allows it."""

    fence: Fence
    run_id: str
    events: Sequence[Event]


class LockedStream(NamedTuple):
    """The row of a stream that the transaction has locked."""

    head: int
    owner: str | None
    epoch: int
    alive: bool
    parent_id: int | None
    kind: str
    bases: str
    generation_now: int

    def generations(self) -> Generations:
        """Returns the stream's generations with its next event."""
        found = Generations.parse(self.bases)
        return found if found.newest >= self.generation_now else found.begin(self.generation_now, self.head)


class Commit:
    """The statements of one transaction. `outcome` and `batches` hold once it has committed.

    `locked` are parents whose rows the transaction has already (`group_wait`). Other rows are skipped if another
    transaction has them.
    """

    def __init__(self, submissions: Sequence[Submission], locked: Mapping[int, LockedStream] | None = None) -> None:
        self._submissions = submissions
        self._locked_parents = dict(locked or {})
        self._rows: list[Row] = []
        self._heads: dict[int, int] = {}
        self._generations: dict[int, Generations] = {}
        self._erased_ids: set[int] = set()
        self.outcome: dict[Fence, Result] = {}
        self.batches: list[Batch] = []
        self.count = 0

    def execute(self) -> None:
        """1. Locks the streams, 2. locks their parents, 3. assigns offsets, 4. writes. Called in a transaction."""
        streams = streams_lock({submission.fence.stream_id for submission in self._submissions})
        wanted = {row.parent_id for row in streams.values() if row.parent_id is not None}
        parents = self._locked_parents | streams_lock(wanted - self._locked_parents.keys())
        self._erased_ids = self._find_erased(
            {submission.fence.stream_id for submission in self._submissions} - streams.keys()
        )
        locked = streams | parents
        self._heads = {stream_id: row.head for stream_id, row in locked.items()}
        self._generations = {stream_id: row.generations() for stream_id, row in locked.items()}
        self._at = iso_ms(now())
        for submission in self._submissions:
            self._add(submission, streams.get(submission.fence.stream_id), parents)
        changed = {row.stream_id for row in self._rows}
        if changed:
            insert_and_move(self._rows, [(stream_id, self._heads[stream_id]) for stream_id in sorted(changed)])
        if begun := {pk: self._generations[pk] for pk in changed if self._generations[pk].text != locked[pk].bases}:
            generations_set(begun)

    def _find_erased(self, missing: set[int]) -> set[int]:
        """Returns those of the streams that could not be locked because they do not exist any more."""
        return missing - set(Stream.objects.filter(pk__in=missing).values_list("pk", flat=True)) if missing else missing

    def _add(self, submission: Submission, stream: LockedStream | None, parents: dict[int, LockedStream]) -> None:
        fence = submission.fence
        if fence.stream_id in self._erased_ids:
            self.outcome[fence] = LeaseLost(fence.stream_id)
        elif stream is None:
            self.outcome[fence] = Outcome.BUSY
        elif stream.parent_id is not None and stream.parent_id not in parents:
            self.outcome[fence] = GroupBusy(stream.parent_id)
        elif stream.owner != fence.owner or stream.epoch != fence.epoch or not stream.alive:
            self.outcome[fence] = LeaseLost(fence.stream_id)
        else:
            self.outcome[fence] = Outcome.COMMITTED
            self._add_events(submission, vocabulary_get(stream.kind), stream.parent_id)

    def _add_events(self, submission: Submission, vocabulary: Vocabulary, parent_id: int | None) -> None:
        stream_id, run_id = submission.fence.stream_id, submission.run_id
        newest = self._generations[stream_id].newest
        events = [self._store(stream_id, run_id, vocabulary, event, newest) for event in submission.events]
        if not events:
            return
        self._rows += map(Row.of, events)
        self.batches.append(Batch(stream_id, events, self._generations[stream_id]))
        self.count += len(events)
        if parent_id is not None:
            generations = self._generations[parent_id]
            newest = generations.newest
            counted = [event.counted_in(parent_id, self._next_offset(parent_id), newest) for event in events]
            self._rows += map(Row.pointer, counted, events)
            self.batches.append(Batch(parent_id, counted, generations))

    def _store(self, stream_id: int, run_id: str, vocabulary: Vocabulary, event: Event, generation: int) -> StoredEvent:
        data = truncate_event(vocabulary.encode(event, run_id=run_id, at=self._at))
        return StoredEvent(stream_id, self._next_offset(stream_id), event.type, run_id, data, None, generation)

    def _next_offset(self, stream_id: int) -> int:
        self._heads[stream_id] += 1
        return self._heads[stream_id]


def streams_lock(ids: Set[int], *, skip: bool = True) -> dict[int, LockedStream]:
    """Locks the rows of streams in the order of their ids; without `skip` it waits for rows that are locked."""
    if not ids:
        return {}
    on_postgresql = connection.vendor == "postgresql"
    suffix = f" FOR UPDATE{' SKIP LOCKED' if skip else ''}" if on_postgresql else ""
    # In the statement that is sent anyway, for this transaction alone.
    asynchronous = on_postgresql and not settings.GATEWAY_SYNCHRONOUS_DELTAS
    mode = "set_config('synchronous_commit', 'off', true)" if asynchronous else "NULL"
    marks = ", ".join(["%s"] * len(ids))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, head, owner, epoch, lease_expires > {now_sql()}, parent_id, kind, bases, {GENERATION_NOW},"
            f" {mode} FROM events_app_stream WHERE id IN ({marks}) ORDER BY id{suffix}",
            sorted(ids),
        )
        return {
            pk: LockedStream(head, owner, epoch, bool(alive), parent_id, kind, bases, now_)
            for pk, head, owner, epoch, alive, parent_id, kind, bases, now_, _ in cursor.fetchall()
        }


def group_wait(group_id: int, seconds: float) -> dict[int, LockedStream]:
    """Locks the row of a group, for which it waits in the database's queue. Call it first in a transaction: who waits
    must hold nothing. Raises OperationalError (`database_busy`) when it is not free in time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{int(seconds * 1000)}ms"])
    return streams_lock({group_id}, skip=False)
