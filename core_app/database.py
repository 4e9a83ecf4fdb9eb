"""Access to the database: one kind of write transaction, locks with a bound, the database's clock and identity.

SQLite has one writer. While threads polled for it the flusher's p99 was 34 ms; with one process-wide lock it is
4.7 ms, so every write goes through `write_transaction`. Async code reaches the database only through the lanes of
`core_app.database_threads`, which this module shows under the names that callers use.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.db import DatabaseError, connection, transaction

from core_app import database_threads
from core_app.database_errors import (
    DatabaseBusy,
    TransactionLost,
    database_busy,
    database_unavailable,
    may_succeed_again,
    server_read_only,
)
from core_app.database_threads import LANES, pool, run, run_action, run_background, shutdown
from core_app.shares import Claim

__all__ = [
    "LANES",
    "Claim",
    "DatabaseBusy",
    "TransactionLost",
    "advisory_lock",
    "database_busy",
    "database_identity",
    "database_moment",
    "database_now",
    "database_unavailable",
    "may_succeed_again",
    "now_sql",
    "pool",
    "read_only_check",
    "run",
    "run_action",
    "run_background",
    "run_leg",
    "shutdown",
    "write_transaction",
]

REPEAT_SECONDS = 0.05
"""Pause before a leg's transaction is repeated."""

P = ParamSpec("P")
R = TypeVar("R")

_sqlite_writer = threading.RLock()
_discarding = threading.Lock()


@contextmanager
def write_transaction(*, savepoint: bool = True) -> Iterator[None]:
    """Runs an atomic block as this process's only SQLite writer; nests like `atomic`. Without `savepoint` a nested
    block is part of the outer one: an error in it ends both, and two statements less are sent.

    A block that ends without an error is committed, or raises: the commit's own error, or TransactionLost. A lock that
    is not free within GATEWAY_LOCK_TIMEOUT_SECONDS is an error too (`database_busy`), on both databases.
    """
    try:
        if connection.vendor == "sqlite":
            with _sqlite_turn(), transaction.atomic(savepoint=savepoint):
                yield
                _check_committable()
        else:
            with transaction.atomic(savepoint=savepoint):
                yield
                _check_committable()
    except DatabaseError as error:
        if server_read_only(error) and not connection.in_atomic_block:
            connections_discard()
        raise


@contextmanager
def _sqlite_turn() -> Iterator[None]:
    if not _sqlite_writer.acquire(timeout=settings.GATEWAY_LOCK_TIMEOUT_SECONDS):
        raise DatabaseBusy("Another transaction of this process writes for longer than GATEWAY_LOCK_TIMEOUT_SECONDS.")
    try:
        yield
    finally:
        _sqlite_writer.release()


def _check_committable() -> None:
    """Raises TransactionLost where Django would roll back silently: a savepoint in the block could not be undone, or
    the connection was closed, and the error was caught. Without this a prompt was acknowledged and then lost."""
    if connection.needs_rollback or connection.closed_in_transaction:
        raise TransactionLost("The connection to the database was lost in a transaction: nothing is kept of it.")


def connections_discard() -> None:
    """Closes this thread's connection and all that lie in the pool, so that the next ones are made anew: the server at
    their other end is a standby now, and `target_session_attrs=read-write` in GATEWAY_DATABASE_URL finds the primary.
    """
    if connection.vendor != "postgresql" or connection.connection is None:
        return
    with _discarding:
        backend: Any = connection
        its_pool = getattr(connection.connection, "_pool", None)
        # Another thread may have replaced the pool already.
        if its_pool is not None and its_pool is backend._connection_pools.get(connection.alias):
            backend.close_pool()
    connection.close()


def read_only_check() -> bool:
    """Returns True, and discards the connections, when the server is a standby.

    Asked every few seconds: a process that only reads would follow a demoted server, whose log stands still, for ever.
    """
    if connection.vendor != "postgresql":
        return False
    with connection.cursor() as cursor:
        cursor.execute("SHOW transaction_read_only")
        read_only = bool(cursor.fetchone()[0] == "on")
    if read_only:
        connections_discard()
    return read_only


@contextmanager
def advisory_lock(key: int) -> Iterator[bool]:
    """Takes PostgreSQL's advisory lock `key` for the block, for work that one process at a time should do; yields
    whether this process has it. With SQLite, which serves one process, it always has.

    A process that freezes while it holds the lock loses it, with its connection, when it has sent no query for the time
    of a lease: otherwise no process could sweep before it thaws.
    """
    if connection.vendor == "sqlite":
        yield True
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        locked = bool(cursor.fetchone()[0])
        if not locked:
            yield False
            return
        timeout = f"{int(settings.GATEWAY_LEASE_SECONDS * 1000)}ms"
        cursor.execute("SELECT set_config('idle_session_timeout', %s, false)", [timeout])
        try:
            yield True
        finally:
            cursor.execute("RESET idle_session_timeout")
            cursor.execute("SELECT pg_advisory_unlock(%s)", [key])


def database_now() -> float:
    """Returns the database's clock in seconds since the epoch: the only clock that leases are compared with."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {now_sql()}")
        return float(cursor.fetchone()[0])


def database_moment() -> datetime:
    """Returns the same as a datetime, for expiries and pauses that the database compares."""
    return datetime.fromtimestamp(database_now(), UTC)


def now_sql() -> str:
    """Returns the SQL expression for that clock (`clock_timestamp`, because `now()` stands still in a transaction)."""
    if connection.vendor == "sqlite":
        return "((julianday('now') - 2440587.5) * 86400.0)"
    return "extract(epoch from clock_timestamp())::double precision"


def database_identity() -> str:
    """Returns a name that no other database has. It separates the messages of deployments that share a Redis: channels
    ignore Redis database numbers, and streams of two deployments have the same ids."""
    if connection.vendor == "sqlite":
        return "local"
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.system_identifier, d.oid FROM pg_control_system() c, pg_database d"
            " WHERE d.datname = current_database()"
        )
        system, database = cursor.fetchone()
    return f"{system}-{database}"


async def run_leg(tenant_id: int, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs a transaction of a leg in a thread for legs.

    A transaction that was certainly not kept (lock time-out, deadlock) is repeated for the time of a lease, since a leg
    that fails asks its model again. `function` is one transaction, and changes nothing else.
    """
    until = time.monotonic() + settings.GATEWAY_LEASE_SECONDS
    claim = Claim(tenant_id)
    while True:
        try:
            return await database_threads.LEGS.run(claim, function, *args, **kwargs)
        except DatabaseError as error:
            if not may_succeed_again(error) or time.monotonic() >= until:
                raise
        await asyncio.sleep(REPEAT_SECONDS)
