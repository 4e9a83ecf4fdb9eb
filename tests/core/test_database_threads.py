"""Lanes of database threads: what waits in one delays nothing in another, and a leg's transaction is repeated."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import OperationalError, connection

from core_app import database
from core_app.database import Claim, DatabaseBusy, write_transaction
from core_app.database_threads import ACTIONS, LEGS
from core_app.errors import Unavailable
from edge_app.http.errors import internal_error
from tests.events.conftest import Holder, leased_stream
from tests.gateway_harness import eventually
from tests.settings import DEPLOYMENT

pytestmark = pytest.mark.django_db(transaction=True)

GREEDY, OTHER = 1, 2


async def fill(tasks: int, claim: Claim, until: threading.Event) -> list[asyncio.Task[bool]]:
    """Starts actions that hold their threads until the event; returns when those that may run do."""
    started = asyncio.Semaphore(0)
    loop = asyncio.get_running_loop()

    def hold() -> bool:
        loop.call_soon_threadsafe(started.release)
        return until.wait(60)

    running = [asyncio.create_task(database.run_action(claim, hold)) for _ in range(tasks)]
    await asyncio.wait_for(started.acquire(), 60)
    return running


async def test_sixteen_actions_on_a_locked_session_delay_nobody_else(settings: Any) -> None:
    """Before, they held all threads of the process: another session's read of one row waited 13 s."""
    until = threading.Event()
    try:
        held = await fill(16, Claim(GREEDY, "locked"), until)
        async with asyncio.timeout(30):
            assert await database.run(lambda: "a follower") == "a follower"
            assert await database.run_leg(GREEDY, lambda: "its leg") == "its leg"
            assert await database.run_action(Claim(OTHER, "free"), lambda: "another's") == "another's"
            assert await database.run_background(lambda: "the sweep") == "the sweep"
    finally:
        until.set()
    assert await asyncio.gather(*held) == [True] * 16


async def test_a_tenant_that_fills_its_share_of_legs_leaves_threads_to_others() -> None:
    until, loop, begun = threading.Event(), asyncio.get_running_loop(), asyncio.Event()

    def hold() -> bool:
        loop.call_soon_threadsafe(begun.set)
        return until.wait(60)

    try:
        held = [asyncio.create_task(database.run_leg(GREEDY, hold)) for _ in range(LEGS.threads() * 2)]
        await asyncio.wait_for(begun.wait(), 60)
        assert await asyncio.wait_for(database.run_leg(OTHER, lambda: "mine"), 30) == "mine"
    finally:
        until.set()
    assert all(await asyncio.gather(*held))


async def test_actions_that_wait_are_bounded(settings: Any) -> None:
    settings.GATEWAY_MAX_WAITING_REQUESTS = 2
    until = threading.Event()
    try:
        # The session's bound and the tenant's share are the same here.
        held = await fill(2 + 2, Claim(GREEDY, "locked"), until)
        while ACTIONS.shares.waiting < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        with pytest.raises(Unavailable) as refused:
            await database.run_action(Claim(GREEDY, "locked"), lambda: None)
        assert (refused.value.status, refused.value.retry_after) == (503, 1)
    finally:
        until.set()
    await asyncio.gather(*held)


async def test_an_action_that_was_cancelled_while_it_waited_is_never_run(settings: Any) -> None:
    until, ran = threading.Event(), []
    try:
        held = await fill(2, Claim(GREEDY, "locked"), until)
        waiting = asyncio.create_task(database.run_action(Claim(GREEDY, "locked"), lambda: ran.append("ran")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert ACTIONS.shares.waiting == 0
    finally:
        until.set()
    await asyncio.gather(*held)
    assert ran == []


async def test_a_transaction_of_a_leg_is_repeated_while_a_lock_is_not_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core_app.database.REPEAT_SECONDS", 0)
    failures = [DatabaseBusy("busy"), DatabaseBusy("busy")]

    def work() -> str:
        if failures:
            raise failures.pop()
        return "done"

    assert await database.run_leg(GREEDY, work) == "done"


async def test_a_transaction_of_a_leg_is_given_up_after_the_time_of_a_lease(settings: Any) -> None:
    settings.GATEWAY_LEASE_SECONDS = 0.0

    def work() -> None:
        raise DatabaseBusy("busy")

    with pytest.raises(DatabaseBusy):
        await database.run_leg(GREEDY, work)


async def test_a_bug_in_a_leg_is_not_repeated() -> None:
    tried = []

    def work() -> None:
        tried.append(1)
        raise OperationalError("a bug")

    with pytest.raises(OperationalError):
        await database.run_leg(GREEDY, work)
    assert tried == [1]


def test_a_write_that_waits_too_long_says_when_to_come_again(settings: Any) -> None:
    """On PostgreSQL for a row, on SQLite for the writer."""
    stream = leased_stream()
    if DEPLOYMENT == "embedded":
        settings.GATEWAY_LOCK_TIMEOUT_SECONDS = 0.05
    from events_app import log

    def write() -> None:
        with write_transaction():
            if DEPLOYMENT == "distributed":
                # For this transaction alone: the connection returns to a pool that other tests use.
                with connection.cursor() as cursor:
                    cursor.execute("SET LOCAL lock_timeout = '50ms'")
            log.lock(stream.pk)

    with Holder(stream.pk), pytest.raises(OperationalError) as raised:
        write()
    error = internal_error(raised.value)
    assert (error.status, error.code, error.retry_after) == (503, "unavailable", 1)


@pytest.mark.skipif(DEPLOYMENT != "distributed", reason="SQLite's connections have no such settings")
def test_connections_bound_their_waits_for_locks_and_their_idle_transactions(settings: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, setting::float / 1000 FROM pg_settings"
            " WHERE name IN ('lock_timeout', 'idle_in_transaction_session_timeout')"
        )
        found = dict(cursor.fetchall())
    assert found["lock_timeout"] == settings.GATEWAY_LOCK_TIMEOUT_SECONDS
    # That of tests; tests/project/test_database_settings.py has the gateway's own.
    assert found["idle_in_transaction_session_timeout"] == 60


class Large:
    """An argument or a result whose end can be seen."""


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Keeps the collector of cyclic garbage from hiding what only it would free."""
    gc.disable()
    yield
    gc.enable()


async def test_arguments_and_results_of_an_action_are_gone_with_it(no_collector: None) -> None:
    """They were part of a cycle: the histories of twelve legs stayed until the collector came round, 220 MB of them."""
    given, made = Large(), []

    def work(argument: Large) -> Large:
        result = Large()
        made.append(weakref.ref(result))
        return result

    taken = weakref.ref(given)
    await database.run_action(Claim(GREEDY), work, given)
    del given
    # The thread drops its own references after it has handed the result over.
    await eventually(lambda: taken() is None and made[0]() is None)
