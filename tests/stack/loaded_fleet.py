"""A fleet that tests share, healed before each, and a load that streams in all of it."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager

import aiohttp
import pytest
import pytest_asyncio

from tests.stack.callbacks import callbacks_serving
from tests.stack.client import until
from tests.stack.conftest import deployment_of
from tests.stack.deployment import Deployment
from tests.stack.fleet import Fleet, directory_made
from tests.stack.load import Load, Roamer
from tests.stack.postgres_process import PostgresMissing, PostgresProcess
from tests.stack.redis_process import RedisProcess

SESSIONS = 10
SETTLE_SECONDS = 60.0


@pytest.fixture(scope="module")
def fleets() -> Iterator[Fleet]:
    """One fleet for all tests of a module, each of which heals it first; on its own PostgreSQL where there is one."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server is installed that a test could kill")
    with ExitStack() as stack:
        directory = directory_made(stack)
        try:
            postgres = PostgresProcess(directory)
        except PostgresMissing as missing:
            fleet = Fleet(deployment_of(directory / "data", stack), RedisProcess(directory), str(missing))
        else:
            stack.callback(postgres.end)
            postgres.start()
            fleet = Fleet(Deployment(directory / "data", postgres.url), RedisProcess(directory), postgres)
        stack.callback(fleet.end)
        yield fleet


@pytest_asyncio.fixture
async def fleet(fleets: Fleet) -> Fleet:
    await fleets.heal()
    return fleets


@asynccontextmanager
async def load_on(fleet: Fleet, http: aiohttp.ClientSession, name: str) -> AsyncIterator[Load]:
    """A load that streams everywhere; at the end every prompt has its end, and every law holds."""
    chance = random.Random(name)
    async with callbacks_serving(chance) as callbacks:
        load = Load(Roamer(http, [web.url for web in fleet.webs], chance), callbacks, name)
        try:
            await load.create(SESSIONS)
            await load.keep_busy()
            await until(lambda: all(watcher.events for watcher in load.watchers.values()), 30, "everybody streams")
            yield load
            await load.finish(SETTLE_SECONDS)
            await load.check(fleet.deployment)
        finally:
            await load.stop()


async def busy_for(load: Load, seconds: float) -> None:
    """Prompts keep coming."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        await load.keep_busy()
        await asyncio.sleep(0.1)
