"""Two web processes and two workers: one fault at a time, and what has to be true whatever it was."""

from __future__ import annotations

import asyncio
import random
import signal

import aiohttp
import pytest

from tests.stack.client import Watcher, until
from tests.stack.fleet import Fleet
from tests.stack.load import Load, Roamer
from tests.stack.loaded_fleet import busy_for, fleet, fleets, load_on
from tests.stack.process import GatewayProcess

__all__ = ["fleet", "fleets"]

pytestmark = pytest.mark.timeout(600)

GOES_ON_SECONDS = 15.0
"""What is promised with a lease of 10 s and a sweep every 2 s; here they are 2 s and 0.3 s, on a busy machine."""
CONTROL_SECONDS = 10.0


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


def retried_runs(load: Load) -> set[str]:
    """The runs that followers know to have gone on."""
    events = [event for watcher in load.watchers.values() for event in watcher.events]
    return {event.data["requestId"] for event in events if event.type == "run_retried"}


def went_on(load: Load, left: set[str]) -> bool:
    """Whether all these runs did. PostgreSQL carries out what a worker sent it last though the worker is stopped: a run
    whose end was on its way is over without another attempt."""
    over: set[str] = set().union(*(watcher.over for watcher in load.watchers.values()))
    return left <= retried_runs(load) | over


async def test_the_sessions_of_a_killed_worker_go_on_elsewhere(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    async with load_on(fleet, http, "killed") as load:
        killed, other = fleet.workers
        left = await caught(fleet, load, killed)
        await killed.kill()
        await until(lambda: went_on(load, left), GOES_ON_SECONDS, "every run goes on")
        await busy_for(load, 1)
        assert other.alive


async def test_a_worker_frozen_past_its_leases_writes_nothing_when_it_thaws(
    fleet: Fleet, http: aiohttp.ClientSession
) -> None:
    async with load_on(fleet, http, "frozen") as load:
        frozen = fleet.workers[0]
        left = await caught(fleet, load, frozen)
        await until(lambda: went_on(load, left), GOES_ON_SECONDS, "every run goes on")
        frozen.signal(signal.SIGCONT)
        await busy_for(load, 2)
    refused = [line for line in frozen.log() if line["event"] in ("lease_lost", "lease_gone", "leg_lost")]
    assert refused, "the frozen worker never tried to go on"


async def test_followers_of_a_killed_web_process_go_on_at_the_other(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    async with load_on(fleet, http, "web") as load:
        before = {name: watcher.connections for name, watcher in load.watchers.items()}
        await fleet.webs[0].kill()
        await busy_for(load, 2)
        assert any(watcher.connections > before[name] for name, watcher in load.watchers.items())
        await fleet.revive(fleet.webs[0])


async def test_a_rolling_restart_under_load_loses_nothing(fleet: Fleet, http: aiohttp.ClientSession) -> None:
    async with load_on(fleet, http, "rolling") as load:
        for process in fleet.processes:
            process.signal(signal.SIGTERM)
            _, code = await asyncio.gather(busy_for(load, 1), process.wait_exit())
            assert code == 0, process.output()
            await fleet.revive(process)


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
    await until(lambda: watcher.has_seen_end({run}), CONTROL_SECONDS, "followers see the end")

    async def over() -> bool:
        return len([line for line in holder.log() if line["event"] in gone]) > lost

    await until(over, CONTROL_SECONDS, "the worker lets go")
    again = await client.prompt("aborted", "hello")
    streams = {"agent_start", "message_delta"}
    await until(lambda: streams <= {e.type for e in watcher.events if e.data["requestId"] == again}, 20, "the next run")
    await client.post("/v1/sessions/aborted/abort", {}, expect=202)
    await until(lambda: watcher.has_seen_end({run, again}), CONTROL_SECONDS, "the next run's end")
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
    await until(lambda: watcher.has_seen_end({run}), 20, "the end")
    await watcher.stop()
    (end,) = [event for event in watcher.events if event.type == "agent_end"]
    assert "and this" in end.data["lastMessage"]["content"]
