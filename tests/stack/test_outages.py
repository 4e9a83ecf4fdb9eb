"""Two web processes and two workers without their Redis or their PostgreSQL for a while: nothing is lost."""

from __future__ import annotations

import asyncio
import signal

import aiohttp
import pytest

from tests.stack.client import Watcher, until
from tests.stack.fleet import Fleet
from tests.stack.loaded_fleet import busy_for, fleet, fleets, load_on

__all__ = ["fleet", "fleets"]

pytestmark = pytest.mark.timeout(240)

LATE_SECONDS = 10.0
"""For followers who come while Redis hangs: none waits for another."""


@pytest.mark.parametrize("seconds", [0.0, 30.0], ids=["restarted", "gone"])
async def test_without_redis_prompts_are_accepted_runs_end_and_followers_see_it(
    fleet: Fleet, http: aiohttp.ClientSession, seconds: float
) -> None:
    async with load_on(fleet, http, f"redis{seconds:.0f}") as load:
        fleet.redis.end()
        if seconds:
            await busy_for(load, seconds)
            await load.finish(30)
            await load.keep_busy()
        await fleet.redis_heal()
        await busy_for(load, 1)
        assert not load.unanswered


async def test_with_a_frozen_redis_prompts_are_accepted_runs_end_and_followers_see_it(
    fleet: Fleet, http: aiohttp.ClientSession
) -> None:
    async with load_on(fleet, http, "icy") as load:
        fleet.redis.signal(signal.SIGSTOP)
        await busy_for(load, 6)
        late = [Watcher(load.client, name) for name in load.accepted]
        try:
            await until(lambda: all(watcher.events for watcher in late), LATE_SECONDS, "who comes now is served")
        finally:
            await asyncio.gather(*(watcher.stop() for watcher in late))
        await load.finish(30)
        fleet.redis.signal(signal.SIGCONT)
        await busy_for(load, 1)
        assert not load.unanswered


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_a_restart_of_postgresql_loses_nothing_that_was_acknowledged(
    fleet: Fleet, http: aiohttp.ClientSession, mode: str
) -> None:
    if isinstance(fleet.postgres, str):
        pytest.skip(fleet.postgres)
    async with load_on(fleet, http, mode) as load:
        await asyncio.to_thread(fleet.postgres.stop, mode)
        await asyncio.to_thread(fleet.postgres.start)
        await busy_for(load, 3)
        assert all(process.alive for process in fleet.processes)
