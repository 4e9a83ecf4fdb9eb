"""Two processes on one PostgreSQL and one Redis: who may write, who hears of it, and what Redis is good for."""

from __future__ import annotations

import asyncio
import secrets
import signal
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest

from tests.stack import laws
from tests.stack.client import Client, Event, Watcher, until
from tests.stack.conftest import deployment_of
from tests.stack.deployment import Deployment
from tests.stack.process import GatewayProcess
from tests.stack.redis_process import RedisProcess, own_redis

__all__ = ["own_redis"]

SESSIONS = 20
Make = Callable[..., GatewayProcess]


async def start_all(process: Make, count: int = 2, of: Deployment | None = None) -> list[GatewayProcess]:
    made = [process("one") if of is None else process("one", of) for _ in range(count)]
    await asyncio.gather(*(each.start() for each in made))
    return made


def owners(deployment: Deployment) -> list[int]:
    """The process of each live leg's lease."""
    query = "SELECT owner FROM events_app_stream WHERE owner IS NOT NULL AND kind = 'session'"
    return [int(owner.split(":")[1]) for (owner,) in deployment.rows(query)]


@pytest.mark.timeout(600)
async def test_a_process_frozen_past_its_leases_writes_nothing_when_it_thaws(
    deployment: Deployment, process: Make, http: aiohttp.ClientSession
) -> None:
    (frozen,), other = await start_all(process, 1), process("other")
    client = Client(http, frozen.url)
    names = [f"s-{number}" for number in range(SESSIONS)]
    for name in names:
        await client.create(name, providerOpts={"delayMs": 40})
    runs = {name: await client.prompt(name, f"long {250 + number}") for number, name in enumerate(names)}

    async def all_stream() -> bool:
        return all([any(e.type == "message_delta" for e in await client.log(name)) for name in names])

    await until(all_stream, 30, "every session streams")
    await other.start()
    assert set(owners(deployment)) == {frozen.pid}
    await freeze_in_a_transaction(frozen, deployment)
    client.url = other.url
    await until(lambda: owners(deployment).count(other.pid) == SESSIONS, 40, "the other process has every lease")
    frozen.signal(signal.SIGCONT)
    for name in names:
        watcher = Watcher(client, name)
        await until(lambda w=watcher, r=runs[name]: w.has_seen_end({r}), 40, "the end")  # type: ignore[misc]
        await watcher.stop()
        events = await client.log(name)
        assert watcher.events == events
        laws.offsets_have_no_gap(events)
        laws.every_run_ends_once(events, {runs[name]})
        laws.texts_are_whole(events)
        only_one_writes_after_the_retry(events)
    laws.usage_is_counted_once(deployment)
    refused = [line for line in frozen.log() if line["event"] in ("lease_lost", "lease_gone", "leg_lost")]
    assert refused, "the frozen process never tried to go on"
    client.url = frozen.url
    again = await client.prompt(names[0], "hello")
    watcher = Watcher(client, names[0])
    await until(lambda: watcher.has_seen_end({again}), 20, "the thawed process runs legs again")
    await watcher.stop()
    laws.every_run_ends_once(await client.log(names[0]), {runs[names[0]], again})


async def freeze_in_a_transaction(process: GatewayProcess, deployment: Deployment) -> None:
    """Stops the process where it hurts most: while it holds rows locked that the other one needs."""
    held = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"

    async def frozen() -> bool:
        process.signal(signal.SIGSTOP)
        looks = []
        for _ in range(2):
            # The second look shows that it was no statement on its way.
            await asyncio.sleep(0.02)
            looks.append(deployment.rows(held)[0][0])
        if all(looks):
            return True
        process.signal(signal.SIGCONT)
        return False

    await until(frozen, 20, "frozen in a transaction")


def only_one_writes_after_the_retry(events: list[Event]) -> None:
    retried = next(event.id for event in events if event.type == "run_retried")
    before = {event.data["messageId"] for event in events if "messageId" in event.data and event.id < retried}
    after = {event.data["messageId"] for event in events if "messageId" in event.data and event.id > retried}
    assert len(before) == len(after) == 1
    assert not before & after


async def test_a_follower_of_one_process_sees_a_run_of_another(
    deployment: Deployment, process: Make, http: aiohttp.ClientSession
) -> None:
    here, there = await start_all(process)
    client, reader = Client(http, here.url), Client(http, there.url)
    await client.create("s", providerOpts={"delayMs": 10})
    watcher = Watcher(reader, "s")
    await until(lambda: watcher.connections > 0, 5, "connected")
    run = await client.prompt("s", "long 60")
    await until(lambda: watcher.has_seen_end({run}), 30, "the end")
    await watcher.stop()
    assert watcher.connections == 1
    assert watcher.events == await client.log("s")


async def test_two_deployments_on_one_redis_do_not_hear_each_other(
    deployment: Deployment, process: Make, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """Their streams have the same numbers."""
    (tmp_path / "other").mkdir()
    with ExitStack() as stack:
        other = deployment_of(tmp_path / "other", stack)
        (mine,), (theirs,) = await asyncio.gather(start_all(process, 1), start_all(process, 1, other))
        clients = Client(http, mine.url), Client(http, theirs.url)
        for client in clients:
            await client.create("s", providerOpts={"delayMs": 10})
        assert deployment.rows("SELECT id FROM events_app_stream") == other.rows("SELECT id FROM events_app_stream")
        watchers = [Watcher(client, "s") for client in clients]
        runs = [await client.prompt("s", f"{secrets.token_hex(8)} long 60") for client in clients]
        for watcher, client, run in zip(watchers, clients, runs, strict=True):
            await until(lambda w=watcher, r=run: w.has_seen_end({r}), 30, "the end")  # type: ignore[misc]
            await watcher.stop()
            assert watcher.events == await client.log("s")
        theirs.end()


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
@pytest.mark.timeout(600)
async def test_without_redis_nothing_is_lost_and_work_goes_on(
    deployment: Deployment, process: Make, http: aiohttp.ClientSession, own_redis: RedisProcess, way: signal.Signals
) -> None:
    await own_redis.start()
    here, there = await start_all(process, 2, replace(deployment, redis_url=own_redis.url))
    client, reader = Client(http, here.url), Client(http, there.url)
    await client.create("s", providerOpts={"delayMs": 20})
    watcher = Watcher(reader, "s")
    runs = {await client.prompt("s", "long 100")}
    await until(lambda: len(watcher.events) > 10, 20, "it streams")
    own_redis.signal(way)
    runs.add(await client.prompt("s", "long 50"))
    await until(lambda: watcher.has_seen_end(runs), 30, "both ends without Redis")
    if way is signal.SIGSTOP:
        own_redis.signal(signal.SIGCONT)
    else:
        own_redis.end()
        await own_redis.start()
    runs.add(await client.prompt("s", "long 50"))
    await until(lambda: watcher.has_seen_end(runs), 30, "the end with Redis again")
    await watcher.stop()
    events = await client.log("s")
    assert watcher.events == events
    laws.offsets_have_no_gap(events)
    laws.every_run_ends_once(events, runs)
