"""Leases of streams, and the fences that refuse writes without one (docs/architecture.md, "What holds when something
dies").

A claim is a compare-and-set on the stream's row: owner, epoch + 1, expiry by the database's clock. A fence names that
epoch and holds only while the lease is unexpired, so a process that was frozen past its lease writes nothing even when
no other process has claimed the stream. `log.append`, `log.lock_fenced` and the flusher's commit check it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from django.conf import settings
from django.db import OperationalError, connection
from django.db.models import QuerySet

from core_app.database import database_busy, database_now, now_sql, write_transaction
from events_app.models import Stream

FOREIGN_LENGTHS = 2
"""A lease that ends later than this many lengths from now is nobody's. Twice, so that processes with a new
GATEWAY_LEASE_SECONDS may run beside those with the old one."""


@dataclass(frozen=True, slots=True)
class Fence:
    """The right to write into one stream while the lease of `epoch` is alive."""

    stream_id: int
    owner: str
    epoch: int


class LeaseLost(Exception):
    """The lease was taken over, revoked or ran out; nothing was written."""


def lease_claim(*, stream_id: int, owner: str, seconds: float) -> Fence | None:
    """Claims the stream's lease. Returns its fence, or None while another lease is alive.

    A lease that ends later than any holder can have wanted is foreign, and claimable: it comes from the clock of a
    database that this one was restored or failed over from.
    """
    with write_transaction(), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE events_app_stream SET owner = %s, epoch = epoch + 1, lease_expires = {now_sql()} + %s"
            f" WHERE id = %s AND (owner IS NULL OR lease_expires <= {now_sql()} OR lease_expires > {now_sql()} + %s)"
            " RETURNING epoch",
            [owner, seconds, stream_id, seconds * FOREIGN_LENGTHS],
        )
        row = cursor.fetchone()
    return Fence(stream_id, owner, row[0]) if row else None


class Renewal(NamedTuple):
    """The result of a renewal. The leases of neither set are lost."""

    renewed: set[Fence]
    unknown: set[Fence]
    """Leases that are alive and could not be renewed, because another transaction holds their streams' rows."""


def leases_renew(*, fences: Iterable[Fence], seconds: float) -> Renewal:
    """Extends, in one statement, every lease that is alive and whose stream nobody has locked. An expired lease is
    never revived.

    One transaction that waited for each row held the rows before it, and lost all that came after it, for as long as
    anybody held one row.
    """
    wanted = {fence.stream_id: fence for fence in fences}
    if not wanted:
        return Renewal(set(), set())
    renew = _renew_unlocked if connection.vendor == "postgresql" else _renew_each
    renewed = {wanted[stream_id] for stream_id in renew(list(wanted.values()), seconds)}
    missed = wanted.keys() - {fence.stream_id for fence in renewed}
    return Renewal(renewed, leases_held([wanted[stream_id] for stream_id in missed]) if missed else set())


def _renew_unlocked(fences: Sequence[Fence], seconds: float) -> list[int]:
    ids = [fence.stream_id for fence in fences]
    with write_transaction(), connection.cursor() as cursor:
        cursor.execute(
            "WITH free AS MATERIALIZED ("
            "SELECT id FROM events_app_stream WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE SKIP LOCKED)"
            f" UPDATE events_app_stream s SET lease_expires = {now_sql()} + %s"
            " FROM free, unnest(%s::bigint[], %s::text[], %s::bigint[]) AS held(id, owner, epoch)"
            " WHERE s.id = free.id AND s.id = held.id AND s.owner = held.owner AND s.epoch = held.epoch"
            f" AND s.lease_expires > {now_sql()} RETURNING s.id",
            [ids, seconds, ids, [fence.owner for fence in fences], [fence.epoch for fence in fences]],
        )
        return [stream_id for (stream_id,) in cursor.fetchall()]


def _renew_each(fences: Sequence[Fence], seconds: float) -> list[int]:
    """The same on SQLite, whose one writer holds all rows or none."""
    renewed = []
    with write_transaction(), connection.cursor() as cursor:
        for fence in fences:
            cursor.execute(
                f"UPDATE events_app_stream SET lease_expires = {now_sql()} + %s"
                f" WHERE id = %s AND owner = %s AND epoch = %s AND lease_expires > {now_sql()} RETURNING id",
                [seconds, fence.stream_id, fence.owner, fence.epoch],
            )
            renewed += [stream_id for (stream_id,) in cursor.fetchall()]
    return renewed


def lease_renew_waiting(*, fence: Fence, seconds: float, wait_seconds: float) -> bool:
    """Extends one lease, and waits a moment for its row: a flusher that commits one event after the other leaves it
    free only between two commits. Returns False when it was not free in time, or the lease is not alive."""
    try:
        with write_transaction(), connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("SELECT set_config('lock_timeout', %s, true)", [f"{int(wait_seconds * 1000)}ms"])
            cursor.execute(
                f"UPDATE events_app_stream SET lease_expires = {now_sql()} + %s"
                f" WHERE id = %s AND owner = %s AND epoch = %s AND lease_expires > {now_sql()} RETURNING id",
                [seconds, fence.stream_id, fence.owner, fence.epoch],
            )
            return cursor.fetchone() is not None
    except OperationalError as error:
        if not database_busy(error):
            raise
        return False


def leases_held(fences: Iterable[Fence]) -> set[Fence]:
    """Returns those of `fences` whose lease is theirs and alive, without writing."""
    wanted = {fence.stream_id: fence for fence in fences}
    if not wanted:
        return set()
    marks = ", ".join(["%s"] * len(wanted))
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT id, owner, epoch FROM events_app_stream WHERE id IN ({marks}) AND lease_expires > {now_sql()}",
            list(wanted),
        )
        rows = cursor.fetchall()
    return {fence for id_, owner, epoch in rows if (fence := wanted[id_]).owner == owner and fence.epoch == epoch}


def lease_release(*, fence: Fence) -> bool:
    """Ends the lease; False when it was no longer held. The caller has locked the stream's row (`log.lock`)."""
    with write_transaction(savepoint=False), connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_app_stream SET owner = NULL, lease_expires = 0"
            " WHERE id = %s AND owner = %s AND epoch = %s RETURNING id",
            [fence.stream_id, fence.owner, fence.epoch],
        )
        return cursor.fetchone() is not None


def lease_revoke(*, stream_id: int) -> None:
    """Takes the stream from its holder, so that its fence is refused from now on. The caller has locked the row."""
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_app_stream SET owner = NULL, lease_expires = 0, epoch = epoch + 1 WHERE id = %s",
            [stream_id],
        )


def lease_unclaimed(fence: Fence) -> bool:
    """True while nobody has taken, released or revoked the lease, whether it is alive or not."""
    held = Stream.objects.filter(pk=fence.stream_id, owner=fence.owner, epoch=fence.epoch)
    return held.exists()


def leases_stale(*, seconds: float) -> QuerySet[Stream]:
    """Selects streams whose lease ran out more than `seconds` ago and was never released."""
    return Stream.objects.filter(owner__isnull=False, lease_expires__lt=database_now() - seconds)


def free_streams_join(column: str) -> str:
    """Returns SQL that joins the stream of `column` unless it is leased; its parameters are `lease_bounds()`.

    For statements in which upper rooms look for work.
    """
    return (
        f"JOIN events_app_stream e ON e.id = {column}"
        " AND (e.owner IS NULL OR e.lease_expires <= %s OR e.lease_expires > %s)"
    )


def lease_bounds() -> tuple[float, float]:
    """Returns the times between which a lease ends that is alive and not foreign (`lease_claim`)."""
    now = database_now()
    return now, now + settings.GATEWAY_LEASE_SECONDS * FOREIGN_LENGTHS


def leases_reset() -> None:
    """Ends every lease. Only for a process that is provably alone (SQLite, with the lock on its data directory)."""
    with write_transaction(), connection.cursor() as cursor:
        cursor.execute("UPDATE events_app_stream SET owner = NULL, lease_expires = 0 WHERE owner IS NOT NULL")
