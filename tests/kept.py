"""The database's threads, left by one test to the next.

Each has a connection under SQLite, which to open, configure and give its schema costs more than most tests do with
it. Between two tests every thread is at rest; a process that a test itself ends (`GatewayHarness.stop`, `restart`)
ends its threads as a real one does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from core_app import database

WAIT = 15.0

FEW = 4
"""A pool that a test made larger ends with it: more threads are more to wait for than to make."""

_shutdown = database.shutdown


def threads_rest() -> None:
    """Until no thread of the pools is at work; what `database.shutdown` does when they are to be kept."""
    pools = list(database._pools.values())
    sizes = {"gateway-db": settings.GATEWAY_DB_THREADS, "gateway-request": settings.GATEWAY_REQUEST_THREADS}
    as_set = all(pool._max_workers == sizes[name] for name, pool in database._pools.items())
    if not as_set or any(len(pool._threads) > FEW for pool in pools):
        _shutdown()
        return
    for pool in pools:
        everybody = threading.Barrier(len(pool._threads) or 1)
        here = [pool.submit(everybody.wait, WAIT) for _ in range(len(pool._threads))]
        for future in here:
            future.result()


@contextmanager
def threads_kept() -> Iterator[None]:
    """In the block, a process that ends leaves its threads, at rest, to the next."""
    database.shutdown = threads_rest
    try:
        yield
    finally:
        database.shutdown = _shutdown
