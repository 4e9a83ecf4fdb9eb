"""Database threads that one test leaves to the next.

Each has an SQLite connection, and opening and configuring one and reading its schema costs more than most tests.
Between two tests every thread is idle; a process that a test itself ends (`GatewayHarness.stop`, `restart`) ends its
threads as a real one does.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from django.conf import settings

from core_app import database, database_threads
from inference_app.relay.large_bodies import THREADS

WAIT = 15.0

FEW = 4
"""A larger pool ends with its test: waiting for more threads takes longer than making them again."""

_shutdown = database.shutdown


def threads_rest() -> None:
    """Waits until all threads of the pools are idle; replaces `database.shutdown` while threads are kept."""
    pools = list(database_threads._pools.values())
    sizes = {lane.pool_name: lane.threads() for lane in database.LANES}
    sizes |= {"gateway-request": settings.GATEWAY_REQUEST_THREADS, "gateway-bodies": THREADS}
    as_set = all(pool._max_workers == sizes[name] for name, pool in database_threads._pools.items())
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
    """Lets a process that ends in the block leave its idle threads to the next."""
    database.shutdown = threads_rest
    try:
        yield
    finally:
        database.shutdown = _shutdown
