"""Leases of streams, and the fences that refuse writes without one (docs/architecture.md, "What holds when something
dies").

A claim is a compare-and-set on the stream's row: owner, epoch + 1, expiry by the database's clock. A fence names that
epoch and holds only while the lease is unexpired, so a process that was frozen past its lease writes nothing even when
no other process has claimed the stream. `log.append`, `log.fence_check` and the flusher's commit check it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection
from django.db.models import QuerySet

from core_app.database import database_now, now_sql, write_transaction
from events_app.models import Stream


@dataclass(frozen=True, slots=True)
class Fence:
    """The right to write into one stream while the lease of `epoch` is alive."""

    stream_id: int
    owner: str
    epoch: int


class LeaseLost(Exception):
    """The lease was taken over, revoked or ran out; nothing was written."""


def lease_claim(*, stream_id: int, owner: str, seconds: float) -> Fence | None:
    """Claims the stream's lease. Returns its fence, or None while another lease is alive."""
    with write_transaction(), connection.cursor() as cursor:
        cursor.execute(
            f"UPDATE events_app_stream SET owner = %s, epoch = epoch + 1, lease_expires = {now_sql()} + %s"
            f" WHERE id = %s AND (owner IS NULL OR lease_expires <= {now_sql()}) RETURNING epoch",
            [owner, seconds, stream_id],
        )
        row = cursor.fetchone()
    return Fence(stream_id, owner, row[0]) if row else None


def leases_renew(*, fences: Iterable[Fence], seconds: float) -> set[Fence]:
    """Extends every lease that is still alive and returns the fences of these. An expired lease is never revived."""
    alive = set()
    with write_transaction(), connection.cursor() as cursor:
        for fence in sorted(fences, key=lambda held: held.stream_id):
            cursor.execute(
                f"UPDATE events_app_stream SET lease_expires = {now_sql()} + %s"
                f" WHERE id = %s AND owner = %s AND epoch = %s AND lease_expires > {now_sql()} RETURNING id",
                [seconds, fence.stream_id, fence.owner, fence.epoch],
            )
            if cursor.fetchone():
                alive.add(fence)
    return alive


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
    with write_transaction(), connection.cursor() as cursor:
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
    """Returns SQL that joins the stream of `column` unless it is leased; its parameter is `database_now()`.

    For statements in which upper rooms look for work.
    """
    return f"JOIN events_app_stream e ON e.id = {column} AND (e.owner IS NULL OR e.lease_expires <= %s)"


def leases_reset() -> None:
    """Ends every lease. Only for a process that is provably alone (SQLite, with the lock on its data directory)."""
    with write_transaction(), connection.cursor() as cursor:
        cursor.execute("UPDATE events_app_stream SET owner = NULL, lease_expires = 0 WHERE owner IS NOT NULL")
