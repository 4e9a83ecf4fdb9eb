"""Two web processes and two workers: one fault at a time, and what has to be true whatever it was."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager

import aiohttp
import pytest
import pytest_asyncio

from tests.stack.callbacks import callbacks_serving
from tests.stack.client import Watcher, until
from tests.stack.conftest import deployment_of
from tests.stack.deployment import Deployment
from tests.stack.fleet import Fleet, directory_made
from tests.stack.load import Load, Roamer
from tests.stack.postgres_process import PostgresMissing, PostgresProcess
from tests.stack.process import GatewayProcess
from tests.stack.redis_process import RedisProcess

pytestmark = pytest.mark.timeout(240)

SESSIONS = 10
SETTLE_SECONDS = 60.0
LATE_SECONDS = 10.0
"""For followers who come while Redis hangs: none waits for another."""
GOES_ON_SECONDS = 15.0
"""What is promised with a lease of 10 s and a sweep every 2 s; here they are 2 s and 0.3 s, on a busy machine."""
CONTROL_SECONDS = 5.0


@pytest.fixture(scope="module")
def fleets() -> Iterator[Fleet]:
    """One fleet for all tests here, each of which heals it first; on a PostgreSQL of its own where one can be had."""
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
async def loaded(fleet: Fleet, http: aiohttp.ClientSession, name: str) -> AsyncIterator[Load]:
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


async def caught(fleet: Fleet, load: Load, worker: GatewayProcess) -> set[str]:
    """Freezes the worker in the middle of legs; their runs."""

    async def frozen() -> bool:
        await load.keep_busy()
        worker.signal(signal.SIGSTOP)
        if fleet.runs_of(worker):
            return True
        worker.signal(signal.SIGCONT)
        return False

    await until(frozen, 30, "the worker has legs")
    return fleet.runs_of(worker)


def retried(load: Load) -> set[str]:
    """The runs that followers know to have gone on."""
    events = [event for watcher in load.watchers.values() for event in watcher.events]
    return {event.data["requestId"] for event in events if event.type == "run_retried"}


async def test_the_sessions_of_a_killed_worker_go_on_elsewhere(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    async with loaded(fleet, http, "killed") as load:
        killed, other = fleet.workers
        left = await caught(fleet, load, killed)
        await killed.kill()
        await until(lambda: left <= retried(load), GOES_ON_SECONDS, "every run goes on")
        await busy_for(load, 1)
        assert other.alive


async def test_a_worker_frozen_past_its_leases_writes_nothing_when_it_thaws(
    fleet: Fleet, http: aiohttp.ClientSession
) -> None:
    async with loaded(fleet, http, "frozen") as load:
        frozen = fleet.workers[0]
        left = await caught(fleet, load, frozen)
        await until(lambda: left <= retried(load), GOES_ON_SECONDS, "every run goes on")
        frozen.signal(signal.SIGCONT)
        await busy_for(load, 2)
    refused = [line for line in frozen.log() if line["event"] in ("lease_lost", "leg_lost")]
    assert refused, "the frozen worker never tried to go on"


async def test_followers_of_a_killed_web_process_go_on_at_the_other(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    async with loaded(fleet, http, "web") as load:
        before = {name: watcher.connections for name, watcher in load.watchers.items()}
        await fleet.webs[0].kill()
        await busy_for(load, 2)
        assert any(watcher.connections > before[name] for name, watcher in load.watchers.items())
        await fleet.revive(fleet.webs[0])


async def test_a_rolling_restart_under_load_loses_nothing(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    async with loaded(fleet, http, "rolling") as load:
        for process in fleet.processes:
            process.signal(signal.SIGTERM)
            _, code = await asyncio.gather(busy_for(load, 1), process.exited())
            assert code == 0, process.output()
            await fleet.revive(process)


@pytest.mark.parametrize("seconds", [0.0, 30.0], ids=["restarted", "gone"])
async def test_without_redis_prompts_are_accepted_runs_end_and_followers_see_it(
    fleet: Fleet, http: aiohttp.ClientSession, seconds: float
) -> None:
    async with loaded(fleet, http, f"redis{seconds:.0f}") as load:
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
    async with loaded(fleet, http, "icy") as load:
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
    async with loaded(fleet, http, mode) as load:
        await asyncio.to_thread(fleet.postgres.stop, mode)
        await asyncio.to_thread(fleet.postgres.start)
        await busy_for(load, 3)
        assert all(process.alive for process in fleet.processes)


async def test_an_abort_reaches_the_worker_that_holds_the_run(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    client = Roamer(http, [web.url for web in fleet.webs], random.Random(0))
    await client.create("aborted", providerOpts={"delayMs": 20})
    run = await client.prompt("aborted", "long 100000")
    watcher = Watcher(client, "aborted")
    await until(lambda: any(e.type == "message_delta" for e in watcher.events), 20, "it streams")
    (holder,) = [worker for worker in fleet.workers if "aborted" in fleet.held_by(worker)]
    gone = ("lease_lost", "lease_gone", "leg_lost")
    lost = len([line for line in holder.log() if line["event"] in gone])
    await client.post("/v1/sessions/aborted/abort", {}, expect=202)
    await until(lambda: watcher.ended({run}), CONTROL_SECONDS, "followers see the end")

    async def over() -> bool:
        return len([line for line in holder.log() if line["event"] in gone]) > lost

    await until(over, CONTROL_SECONDS, "the worker lets go")
    again = await client.prompt("aborted", "hello")
    streams = {"agent_start", "message_delta"}
    await until(lambda: streams <= {e.type for e in watcher.events if e.data["requestId"] == again}, 20, "the next run")
    await client.post("/v1/sessions/aborted/abort", {}, expect=202)
    await until(lambda: watcher.ended({run, again}), CONTROL_SECONDS, "the next run's end")
    await watcher.stop()
    assert watcher.events == await client.log("aborted")


async def test_a_text_that_steers_reaches_the_worker_that_holds_the_run(
    fleet: Fleet, http: aiohttp.ClientSession
) -> None:
    """It joins at the next model call: the answer that is under way here takes one second."""
    client = Roamer(http, [web.url for web in fleet.webs], random.Random(0))
    await client.create("steered", providerOpts={"delayMs": 20})
    watcher = Watcher(client, "steered")
    run = await client.prompt("steered", "long 30")
    await until(lambda: any(e.type == "message_delta" for e in watcher.events), 20, "it streams")
    await client.post("/v1/sessions/steered/steer", {"text": "and this"}, expect=202)
    await until(lambda: any(e.type == "message_end" for e in watcher.events), 20, "the answer")
    await until(lambda: any(e.type == "steering" for e in watcher.events), CONTROL_SECONDS, "it joins")
    await until(lambda: watcher.ended({run}), 20, "the end")
    await watcher.stop()
    (end,) = [event for event in watcher.events if event.type == "agent_end"]
    assert "and this" in end.data["lastMessage"]["content"]
