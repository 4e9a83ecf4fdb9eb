"""The threads of database work, in lanes: legs, clients' actions, followers and checks, background work.

Each lane has threads of its own, so work that waits for a lock delays nothing in another lane. Within a lane tenants
have shares (`core_app.shares`). The threads keep their connection (SQLite) or return it to the pool (PostgreSQL).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

from django.conf import settings
from django.db import close_old_connections, connection, connections

from core_app.instances import process_wide
from core_app.shares import GATEWAY, Claim, Shares, Waiter

P = ParamSpec("P")
R = TypeVar("R")

BACKGROUND_THREADS = 4
"""The sweep, the purge of idempotency records and the chores, of which each is one long call."""

_pools: dict[str, ThreadPoolExecutor] = {}
_pools_guard = threading.Lock()


def check_threads(db_threads: int) -> int:
    """Returns how many of GATEWAY_DB_THREADS serve followers and checks, a quarter; the others serve legs."""
    return max(2, db_threads // 4)


def leg_threads(db_threads: int) -> int:
    """Returns how many of GATEWAY_DB_THREADS serve legs, one at least."""
    return max(1, db_threads - check_threads(db_threads))


class Lane:
    """Threads for one kind of work. `threads` is asked again before each start, for settings that change in tests."""

    def __init__(self, name: str, threads: Callable[[], int], *, bounded: bool = True) -> None:
        self.name = name
        self.threads = threads
        self.shares = Shares(name, threads, bounded=bounded)

    @property
    def pool_name(self) -> str:
        """The name of the lane's thread pool and the prefix of its threads' names."""
        return f"gateway-{self.name}"

    async def run(self, claim: Claim, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs `function` in a thread of the lane, when it is its turn. Raises Unavailable when too much waits."""
        # The context carries the fields that log lines are bound to.
        context = copy_context()
        future: Future[R] = Future()
        work = partial(context.run, partial(_call_and_release, function, *args, **kwargs))
        # What `start` holds must not lead back to it: arguments and results would stay until the collector comes round.
        waiter = Waiter(claim, partial(self._start, claim, future, work))
        self.shares.enter(waiter)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            self.shares.withdraw(waiter)
            raise

    def _start(self, claim: Claim, future: Future[Any], work: Callable[[], Any]) -> None:
        pool(self.pool_name, self.threads()).submit(self._perform, claim, future, work)

    def _perform(self, claim: Claim, future: Future[Any], work: Callable[[], Any]) -> None:
        try:
            if future.set_running_or_notify_cancel():
                _settle(future, work)
        finally:
            self.shares.leave(claim)


def _settle(future: Future[Any], work: Callable[[], Any]) -> None:
    try:
        result = work()
    except BaseException as error:  # belongs to whoever waits for the result
        future.set_exception(error)
    else:
        future.set_result(result)


def _call_and_release(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return function(*args, **kwargs)
    finally:
        if not connection.in_atomic_block:
            close_old_connections()


LEGS = process_wide(Lane("legs", lambda: leg_threads(settings.GATEWAY_DB_THREADS), bounded=False))
ACTIONS = process_wide(Lane("actions", lambda: int(settings.GATEWAY_ACTION_THREADS)))
CHECKS = process_wide(Lane("checks", lambda: check_threads(settings.GATEWAY_DB_THREADS)))
BACKGROUND = process_wide(Lane("background", lambda: BACKGROUND_THREADS))
LANES = (LEGS, ACTIONS, CHECKS, BACKGROUND)


async def run(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs a follower's read, a check or other short work of the gateway itself."""
    return await CHECKS.run(GATEWAY, function, *args, **kwargs)


async def run_background(function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs work that may take minutes."""
    return await BACKGROUND.run(GATEWAY, function, *args, **kwargs)


async def run_action(claim: Claim, function: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs what a client asked for over a socket or for its event stream, within its tenant's share."""
    return await ACTIONS.run(claim, function, *args, **kwargs)


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
