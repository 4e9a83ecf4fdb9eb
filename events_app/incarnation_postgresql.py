"""The identity of a PostgreSQL database, compared on every new connection before anything is written over it.

A failover breaks all connections, so the first write to another server comes after the comparison. `IDENTITY` changes
with the server, the database (`createdb` and `pg_restore`), the table (`pg_restore --clean`) and the timeline
(promotion, recovery to a point in time). The unlogged table is emptied by the recovery after a crash, which loses
commits of `synchronous_commit=off`, and by the start on a snapshot of the disk.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.db import connection as django_connection

from core_app.postgresql import connection_check_register
from events_app.incarnation import generation_next, log_generation

MARK_TABLE = "events_app_incarnationmark"

ADVISORY_KEY = 0x67656E6572617465
"""`generate` in ASCII: the advisory lock of the process that begins a generation, of several that reconnect."""

IDENTITY = (
    "(SELECT c.system_identifier || '-' || d.oid || '-' || 'events_app_stream'::regclass::oid || '-'"
    " || left(pg_walfile_name(pg_current_wal_lsn()), 8)"
    " FROM pg_control_system() c, pg_database d WHERE d.datname = current_database())"
)

STATE = (
    f"SELECT {IDENTITY}, i.n, i.identity, EXISTS (SELECT FROM {MARK_TABLE} m WHERE m.n = i.n)"
    " FROM (SELECT 1) one LEFT JOIN (SELECT n, identity FROM events_app_incarnation ORDER BY n DESC LIMIT 1) i ON true"
)

Connection = psycopg.Connection[Any]


def register() -> None:
    """Compares every new connection from now on."""
    connection_check_register(compare)


def compare(connection: Connection) -> None:
    """Begins a new generation unless the database is the one of the newest incarnation. The connection commits each
    statement by itself. Before the first incarnation there is nothing to compare.

    Raises OperationalError on a standby: the connection would outlive its promotion without having been compared.
    """
    try:
        if _is_other(connection):
            _add(connection)
    except psycopg.errors.UndefinedTable:
        return  # the database has no schema yet
    except (psycopg.errors.FeatureNotSupported, psycopg.errors.ObjectNotInPrerequisiteState):
        # Some services have no write-ahead log that could be asked about; they lose nothing in a failover.
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
        if row is not None and row[0]:
            raise psycopg.OperationalError("The server is a standby, which takes no writes.") from None


def begin() -> None:
    """Compares, and makes generation 0 where there is none."""
    django_connection.ensure_connection()
    _add(django_connection.connection, first=True)


def forget() -> None:
    """Makes the next comparison find another database."""
    with django_connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {MARK_TABLE}")


def _is_other(connection: Connection) -> bool:
    found, n, identity, is_marked = _state(connection)
    return n is not None and (found != identity or not is_marked)


def _state(connection: Connection) -> tuple[str, int | None, str | None, bool]:
    row = connection.execute(STATE).fetchone()
    assert row is not None  # the statement returns one row
    found, n, identity, is_marked = row
    return found, n, identity, is_marked


def _add(connection: Connection, *, first: bool = False) -> None:
    """Adds the incarnation if it is still missing: the other processes reconnect at the same time."""
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_KEY])
        found, n, _, _ = _state(connection)
        if n is None and not first:
            return
        if n is not None and not _is_other(connection):
            return
        generation = 0 if n is None else generation_next(n)
        connection.execute(
            "INSERT INTO events_app_incarnation (n, identity, began_at) VALUES (%s, %s, clock_timestamp())",
            [generation, found],
        )
        connection.execute(f"DELETE FROM {MARK_TABLE}")
        connection.execute(f"INSERT INTO {MARK_TABLE} (n) VALUES (%s)", [generation])
    if generation:
        log_generation(generation, found)
