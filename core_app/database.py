"""How the gateway touches its database: one kind of write transaction, one bounded pool of threads.

SQLite has one writer. Threads that wait for it by polling gave the flusher a p99 of 34 ms, one
process-wide lock 4.7 ms, so every write goes through `write_transaction`. Async code reaches the database
only through `run`, whose threads keep (SQLite) or return (PostgreSQL pool) their connection.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import close_old_connections, connection, connections, transaction

P = ParamSpec("P")
R = TypeVar("R")

_sqlite_writer = threading.RLock()
_pools: dict[str, ThreadPoolExecutor] = {}
_pools_guard = threading.Lock()


@contextmanager
def write_transaction() -> Iterator[None]:
    """An atomic block that is this process's only SQLite writer; nests like `atomic`."""
    if connection.vendor == "sqlite":
        with _sqlite_writer, transaction.atomic():
            yield
    else:
        with transaction.atomic():
            yield


@contextmanager
def turn(key: int) -> Iterator[bool]:
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
