"""How the gateway touches its database: one kind of write transaction, one bounded pool of threads.

SQLite has one writer. Threads that wait for it by polling gave the flusher a p99 of 34 ms, one
process-wide lock 4.7 ms, so every write goes through `write_transaction`. Async code reaches the database
only through `run`, whose threads keep (SQLite) or return (PostgreSQL pool) their connection.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, close_old_connections, connection, connections, transaction

UNAVAILABLE_STATES = ("08", "57P01", "57P02", "57P03", "57P05", "25P03", "53300")
"""PostgreSQL's SQLSTATEs, or beginnings of them, of a server that ends, is not up yet, has no place, or hung up."""

UNAVAILABLE_CODES = frozenset({
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN,
})  # fmt: skip
"""SQLite's, of a file that another process holds, a disk that is full or gone, a directory that cannot be written."""

P = ParamSpec("P")
R = TypeVar("R")

_sqlite_writer = threading.RLock()
_pools: dict[str, ThreadPoolExecutor] = {}
_pools_guard = threading.Lock()


class TransactionLost(OperationalError):
    """A transaction of which nothing is kept ended without an error of its own."""


def database_unavailable(error: BaseException) -> bool:
    """Whether `error` says that PostgreSQL cannot be reached or hung up, or that SQLite's file cannot be used now:
    trying again is all that a client can do."""
    if isinstance(error, TransactionLost):
        return True
    if isinstance(error.__cause__, sqlite3.Error):
        # The low byte is the code, what is above it says more of the circumstances.
        return (getattr(error.__cause__, "sqlite_errorcode", 0) & 0xFF) in UNAVAILABLE_CODES
    # psycopg's errors have a state; none, when it was the connection that failed and not a statement.
    state = getattr(error.__cause__, "sqlstate", "")
    if not isinstance(error, OperationalError | InterfaceError):
        return False
    return state is None or state.startswith(UNAVAILABLE_STATES)


@contextmanager
def write_transaction() -> Iterator[None]:
    """An atomic block that is this process's only SQLite writer; nests like `atomic`.

    A block that ends without an error is committed, or raises what kept it from that: the commit's own error, or
    TransactionLost.
    """
    if connection.vendor == "sqlite":
        with _sqlite_writer, transaction.atomic():
            yield
            _must_commit()
    else:
        with transaction.atomic():
            yield
            _must_commit()


def _must_commit() -> None:
    """Django rolls back without a word when a savepoint in the block could not be undone, or its connection was closed,
    and somebody caught the error that was under way: a prompt was accepted, and nothing of it was there."""
    if connection.needs_rollback or connection.closed_in_transaction:
        raise TransactionLost("The connection to the database was lost in a transaction, of which nothing is kept.")


@contextmanager
def advisory_lock(key: int) -> Iterator[bool]:
    """Whether it is this process's turn at what one process at a time should do; the lock ends with the block.

    A process that is frozen in its turn loses it, with its connection, after a lease's time without a query: nobody
    would sweep before it thaws. SQLite serves one process, whose turn it always is.
    """
    if connection.vendor == "sqlite":
        yield True
        return
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [key])
        mine = bool(cursor.fetchone()[0])
        if not mine:
            yield False
            return
        patience = f"{int(settings.GATEWAY_LEASE_SECONDS * 1000)}ms"
        cursor.execute("SELECT set_config('idle_session_timeout', %s, false)", [patience])
        try:
            yield True
        finally:
            cursor.execute("RESET idle_session_timeout")
            cursor.execute("SELECT pg_advisory_unlock(%s)", [key])


def database_now() -> float:
    """The database's clock in seconds since the epoch: the only clock that leases are compared by."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {now_sql()}")
        return float(cursor.fetchone()[0])


def now_sql() -> str:
    """SQL for the same, to be used inside statements (`clock_timestamp`: `now()` stands still in a transaction)."""
    if connection.vendor == "sqlite":
        return "((julianday('now') - 2440587.5) * 86400.0)"
    return "extract(epoch from clock_timestamp())::double precision"


def database_identity() -> str:
    """Names this database among all others: Redis carries the messages of every deployment that shares it, whatever
    the number of its database, and streams of two deployments have the same ids."""
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
    """`function` in one of GATEWAY_DB_THREADS threads; further calls queue in order."""
    # The context carries what log lines are bound to.
    context = copy_context()
    return await asyncio.get_running_loop().run_in_executor(
        _pool(), lambda: context.run(lambda: _released(function, *args, **kwargs))
    )


def _released(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return function(*args, **kwargs)
    finally:
        if not connection.in_atomic_block:
            close_old_connections()


def _pool() -> ThreadPoolExecutor:
    return pool("gateway-db", settings.GATEWAY_DB_THREADS)


def pool(name: str, threads: int) -> ThreadPoolExecutor:
    """The lasting threads of that name, made at first use; `shutdown` ends them."""
    with _pools_guard:
        if name not in _pools:
            _pools[name] = ThreadPoolExecutor(threads, thread_name_prefix=name)
        return _pools[name]


def shutdown() -> None:
    """Ends the threads, each closing its connection; called at the end of a process or of a test."""
    with _pools_guard:
        pools = list(_pools.values())
        _pools.clear()
    for executor in pools:
        barrier = threading.Barrier(len(executor._threads) or 1)
        for _ in range(len(executor._threads)):
            executor.submit(_close_here, barrier)
        executor.shutdown(wait=True)


def _close_here(barrier: threading.Barrier) -> None:
    barrier.wait(timeout=5)
    connections.close_all()
