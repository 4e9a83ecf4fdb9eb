"""Access to the database: one kind of write transaction, and one bounded thread pool.

SQLite has one writer. While threads polled for it the flusher's p99 was 34 ms; with one process-wide lock it is
4.7 ms, so every write goes through `write_transaction`. Async code reaches the database only through `run`, whose
threads keep their connection (SQLite) or return it to the pool (PostgreSQL).
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from datetime import UTC, datetime
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection, connections, transaction

UNAVAILABLE_STATES = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "53300")
"""SQLSTATEs of PostgreSQL, or their prefixes, of a server that shuts down, starts up, has no connection left or closed
ours."""

UNAVAILABLE_CODES = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
})  # fmt: skip
"""Error codes of SQLite for a file that another process holds, a full or missing disk, an unwritable directory."""

P = ParamSpec("P")
R = TypeVar("R")

_sqlite_writer = threading.RLock()
_pools: dict[str, ThreadPoolExecutor] = {}
_pools_guard = threading.Lock()


class TransactionLost(OperationalError):
    """A transaction was rolled back without an error of its own."""


def database_unavailable(error: BaseException) -> bool:
    """Returns True when PostgreSQL cannot be reached or closed the connection, or SQLite's file cannot be used now: a
    client can only try again."""
    if isinstance(error, TransactionLost):
        return True
    if isinstance(error.__cause__, sqlite3.Error):
        # The low byte is the code; the bytes above it describe the circumstances.
        return (getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF) in UNAVAILABLE_CODES
    # psycopg's errors have a state; None means that the connection failed and not a statement.
    state = getattr(error.__cause__, "sqlstate", "")
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    return state is None or state.startswith(UNAVAILABLE_STATES)


@contextmanager
def write_transaction() -> Iterator[None]:
    """Runs an atomic block as this process's only SQLite writer; nests like `atomic`.

    A block that ends without an error is committed, or raises: the commit's own error, or TransactionLost.
    """
    if connection.vendor == "sqlite":
        with _sqlite_writer, transaction.atomic():
            yield
            _check_committable()
    else:
        with transaction.atomic():
            yield
            _check_committable()


def _check_committable() -> None:
    """Raises TransactionLost where Django would roll back silently: a savepoint in the block could not be undone, or
    the connection was closed, and the error was caught. Without this a prompt was acknowledged and then lost."""
    if connection.needs_rollback or connection.closed_in_transaction:
        raise TransactionLost("The connection to the database was lost in a transaction: nothing is kept of it.")


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
    """Returns the database's clock as an aware instant, for life-times that several processes compare: one of them may
    have a clock that is ahead or behind."""
    return datetime.fromtimestamp(database_now(), UTC)


def now_sql() -> str:
    """Returns the SQL expression for the same (`clock_timestamp`, because `now()` stands still in a transaction)."""
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


async def run(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs `function` in one of GATEWAY_DB_THREADS threads; further calls queue in order."""
    # The context carries the fields that log lines are bound to.
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(
        _pool(), lambda: context.run(lambda: _call_and_release(function, *args, **kwargs))
    )


def _call_and_release(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return function(*args, **kwargs)
    finally:
        if not connection.in_atomic_block:
            close_old_connections()


def _pool() -> ThreadPoolExecutor:
    return pool("gateway-db", settings.GATEWAY_DB_THREADS)


def pool(name: str, threads: int) -> ThreadPoolExecutor:
    """Returns the thread pool of that name, which is made at first use and ended by `shutdown`."""
    with _pools_guard:
        if name not in _pools:
            _pools[name] = ThreadPoolExecutor(threads, thread_name_prefix=name)
        return _pools[name]


def shutdown() -> None:
    """Ends the threads, which close their connections; called at the end of a process or of a test."""
    with _pools_guard:
        pools = list(_pools.values())
        _pools.clear()
    for executor in pools:
        barrier = threading.Barrier(len(executor._threads) or 1)
        for _ in range(len(executor._threads)):
            executor.submit(_close_connections, barrier)
        executor.shutdown(wait=True)


def _close_connections(barrier: threading.Barrier) -> None:
    barrier.wait(timeout=5)
    connections.close_all()
