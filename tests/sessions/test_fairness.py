"""No tenant waits for all sessions of another one: in the runner, in a worker's queue, and in the sweep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence
from typing import Any

import pytest
import pytest_asyncio
from django.db import connection

from core_app import database
from core_app.timeouts import cancel_tasks
from sessions_app.legs.runner import Runner
from sessions_app.legs.sweep import NEXT_TENANT, SESSIONS_WITH_WORK_OF_TENANT, sessions_with_work
from sessions_app.wakeup import WAKEUPS, SessionKey, Wakeups
from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness

CROWD, GUEST, LATE = 1, 2, 3
"""Tenants."""


class HeldRunner(Runner):
    """A runner whose sessions run until the test ends them."""

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self._ends: dict[SessionKey, asyncio.Event] = {}

    @property
    def sessions(self) -> list[int]:
        return [key.session_id for key in self._tasks]

    async def _serve(self, key: SessionKey) -> None:
        await self._ends.setdefault(key, asyncio.Event()).wait()

    async def take(self, *keys: SessionKey) -> None:
        """Takes sessions as jobs and inline wake-ups do: on the loop, one after the other."""
        for key in keys:
            self._consider(key)
        await asyncio.sleep(0)

    async def find(self, *keys: SessionKey) -> None:
        """Offers sessions as the sweep does, from its thread."""
        for key in keys:
            await asyncio.to_thread(self.try_overflow, key)
        await asyncio.sleep(0)

    async def end(self, key: SessionKey) -> None:
        task = self._tasks[key]
        self._ends[key].set()
        await asyncio.wait([task])
        await asyncio.sleep(0)


@pytest_asyncio.fixture
async def runner() -> AsyncIterator[HeldRunner]:
    runner = HeldRunner()
    yield runner
    runner._draining = True
    await cancel_tasks(*runner._tasks.values())


async def test_a_tenants_further_sessions_wait_and_other_tenants_do_not(runner: HeldRunner, settings: Any) -> None:
    settings.GATEWAY_MAX_RUNS, settings.GATEWAY_MAX_RUNS_PER_TENANT = 3, 2
    await runner.take(*(SessionKey(session, CROWD) for session in (1, 2, 3, 4)), SessionKey(5, GUEST))
    assert runner.sessions == [1, 2, 5]
    await runner.end(SessionKey(1, CROWD))
    assert runner.sessions == [2, 5, 3]


async def test_who_waits_for_a_place_has_a_turn_after_each_other_tenant(runner: HeldRunner, settings: Any) -> None:
    settings.GATEWAY_MAX_RUNS, settings.GATEWAY_MAX_RUNS_PER_TENANT = 1, 1
    await runner.take(*(SessionKey(session, CROWD) for session in (1, 2, 3)), SessionKey(4, GUEST))
    for session, tenant in ((1, CROWD), (2, CROWD), (4, GUEST)):
        assert runner.sessions == [session]
        await runner.end(SessionKey(session, tenant))
    assert runner.sessions == [3]


async def test_a_worker_that_one_tenant_fills_takes_others_past_the_queue(runner: HeldRunner, settings: Any) -> None:
    settings.GATEWAY_WORKER_CONCURRENCY = 10
    await runner.take(*(SessionKey(session, CROWD) for session in range(10)))
    await runner.find(SessionKey(10, CROWD), SessionKey(11, GUEST), SessionKey(12, LATE), SessionKey(13, LATE))
    assert runner.sessions == [*range(10), 11, 12]


async def test_a_worker_with_places_leaves_the_queue_to_bring_its_work(runner: HeldRunner, settings: Any) -> None:
    settings.GATEWAY_WORKER_CONCURRENCY = 10
    await runner.take(SessionKey(1, CROWD))
    await runner.find(SessionKey(1, CROWD), SessionKey(2, GUEST))
    assert runner.sessions == [1]


def test_what_the_sweep_finds_is_queued_and_offered_to_the_worker_that_swept() -> None:
    class Jobs:
        def __init__(self) -> None:
            self.deferred: list[SessionKey] = []

        def defer(self, key: SessionKey) -> None:
            self.deferred.append(key)

        def find_queued(self, keys: Sequence[SessionKey]) -> Collection[SessionKey]:
            return [SessionKey(2, GUEST)]

    wakeups, queue, offered = Wakeups(), Jobs(), list[SessionKey]()
    wakeups.queue, wakeups.overflow = queue, offered.append
    wakeups.notify_overdue([SessionKey(1, CROWD), SessionKey(2, GUEST)])
    assert queue.deferred == [SessionKey(1, CROWD)]
    assert offered == [SessionKey(1, CROWD), SessionKey(2, GUEST)]


@pytest.mark.django_db(transaction=True)
async def test_a_tenant_that_queues_more_than_a_round_takes_does_not_hide_the_others_work(
    api: Client, gateway: GatewayHarness, stranger: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(WAKEUPS, "listener", None)
    for _ in range(6):
        await api.prompt(await api.session(), "first of all")
    other = gateway.client(stranger)
    await other.prompt(await other.session(), "later")
    found = await database.run(sessions_with_work, limit=4)
    monkeypatch.undo()
    assert [key.tenant_id for key in found].count(stranger.principal.tenant_id) == 1
    assert len(found) == 3


@pytest.mark.django_db
@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by the tables' sizes")
@pytest.mark.parametrize(("query", "parameters"), [(NEXT_TENANT, [0]), (SESSIONS_WITH_WORK_OF_TENANT, [0, 20, 1, 500])])
def test_looking_for_every_tenants_work_reads_only_runs_with_work(query: str, parameters: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {query}", parameters)
        plan = " ".join(str(row[-1]) for row in cursor.fetchall())
    assert "INDEX run_workable_of_tenant (tenant_id" in plan
    assert "SCAN" not in plan
