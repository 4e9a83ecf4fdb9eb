"""A graceful stop under load: nobody is cut off without a word, and nothing is lost."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

import aiohttp
import pytest

from tests.stack import laws
from tests.stack.client import Client, Watcher, until
from tests.stack.deployment import Deployment
from tests.stack.process import GatewayProcess

SESSIONS = 40
FOLLOWERS = 200
DRAIN_SECONDS = 2.0
CLOSING_SECONDS = 60.0
"""What a stop may take beyond the drain: open answers are closed and threads end."""


@pytest.mark.timeout(600)
async def test_a_stop_under_load_tells_followers_to_come_back_and_loses_nothing(
    deployment: Deployment, process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    deployment.settings["DRAIN_SECONDS"] = str(DRAIN_SECONDS)
    server = process()
    await server.start()
    client = Client(http, server.url)
    names = [f"s-{number}" for number in range(SESSIONS)]
    for name in names:
        await client.create(name, providerOpts={"delayMs": 50})
    accepted = {name: await client.prompt(name, f"long {20 + 2 * number}") for number, name in enumerate(names)}
    watchers = {number: Watcher(client, names[number % SESSIONS]) for number in range(FOLLOWERS)}
    try:
        await until(lambda: all(watcher.events for watcher in watchers.values()), 30, "every follower streams")
        await until(lambda: any(w.events[-1].type == "message_delta" for w in watchers.values()), 30, "text streams")
        server.signal(signal.SIGTERM)
        assert await server.wait_exit(DRAIN_SECONDS + CLOSING_SECONDS) == 0
        unfinished = [w for number, w in watchers.items() if not w.has_seen_end({accepted[names[number % SESSIONS]]})]
        assert unfinished
        assert all("restarting, reconnect and resume" in watcher.comments for watcher in watchers.values())
        await server.start()
        for number, watcher in watchers.items():
            run = accepted[names[number % SESSIONS]]
            await until(lambda w=watcher, r=run: w.has_seen_end({r}), 30, "the end")  # type: ignore[misc]
        for number, watcher in watchers.items():
            events = await client.log(names[number % SESSIONS])
            laws.offsets_have_no_gap(events)
            laws.every_run_ends_once(events, {accepted[names[number % SESSIONS]]})
            laws.texts_are_whole(events)
            assert watcher.events == events
        assert all(event.type != "agent_abort" for watcher in watchers.values() for event in watcher.events)
    finally:
        await asyncio.gather(*(watcher.stop() for watcher in watchers.values()))
    laws.usage_is_counted_once(deployment)


@pytest.mark.timeout(120)
async def test_what_was_handed_over_is_no_failure_of_the_run(
    deployment: Deployment, process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    """More stops than attempts that a run has: it goes on after each."""
    deployment.settings["DRAIN_SECONDS"] = "0.2"
    server = process()
    await server.start()
    client = Client(http, server.url)
    await client.create("s", providerOpts={"delayMs": 20})
    run = await client.prompt("s", "long 100000")
    for attempt in range(1, 5):

        async def streams(begun: int = attempt) -> bool:
            return [event.type for event in await client.log("s")].count("message_start") == begun

        await until(streams, 20, f"attempt {attempt} streams")
        server.signal(signal.SIGTERM)
        assert await server.wait_exit() == 0
        await server.start()
    answer = await client.get(f"/v1/sessions/s/runs/{run}")
    assert answer["status"] == "running"


LEDGER_ROWS = 100_000
"""Removing so many takes seconds; a stop must not wait for them."""


@pytest.mark.timeout(120)
async def test_a_stop_ends_a_long_retention_at_a_batch(
    deployment: Deployment, process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    server = process()
    await server.start()
    await asyncio.to_thread(ledger_fill, deployment)
    server.signal(signal.SIGTERM)
    assert await server.wait_exit() == 0
    deployment.settings["RETENTION_LEDGER_DAYS"] = "30"
    await server.start()
    await until(lambda: rows_left(deployment) < LEDGER_ROWS, 20, "retention has begun")
    server.signal(signal.SIGTERM)
    assert await server.wait_exit(CLOSING_SECONDS) == 0
    left = rows_left(deployment)
    assert 0 < left < LEDGER_ROWS
    await server.start()
    await until(lambda: rows_left(deployment) < left, 20, "retention goes on")


def rows_left(deployment: Deployment) -> int:
    return int(deployment.rows("SELECT COUNT(*) FROM tenants_app_ledgerentry")[0][0])


def ledger_fill(deployment: Deployment) -> None:
    """Old rows, as sessions that are long gone left them."""
    columns = "tenant_id, session_ref, run_id, response_no, model, input_tokens, output_tokens, cached_tokens"
    columns += ", reasoning_tokens, kind, created_at"
    numbers = f"WITH RECURSIVE seq(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM seq WHERE n < {LEDGER_ROWS})"
    values = "(SELECT MIN(id) FROM tenants_app_tenant), '', 'old-' || n, 1, 'm', 1, 1, 0, 0, 'session'"
    deployment.write(
        f"INSERT INTO tenants_app_ledgerentry ({columns}) {numbers} SELECT {values}, '2026-01-01 00:00:00' FROM seq"
        if not deployment.database_url
        else f"INSERT INTO tenants_app_ledgerentry ({columns}) SELECT {values}, '2026-01-01'"
        f" FROM generate_series(1, {LEDGER_ROWS}) AS seq(n)"
    )
