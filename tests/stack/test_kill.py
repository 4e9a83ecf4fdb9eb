"""`kill -9` at random points of running legs, and the laws that hold afterwards."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import aiohttp
import pytest

from tests.stack import laws
from tests.stack.callbacks import Callbacks, callbacks_serving
from tests.stack.client import Client, Event, Watcher, until
from tests.stack.deployment import Deployment
from tests.stack.process import GatewayProcess

DEATHS = 50
MOST_KILLS = 30
SETTLE_SECONDS = 90.0
LONGEST_LIFE = 5.0
"""The longest time from a start to the next kill: importing the agent library takes two of these seconds."""

Prompt = Callable[[int], str]
KINDS: dict[str, tuple[Prompt, dict[str, Any]]] = {
    "long": (lambda number: f"long {30 + number}", {}),
    "again": (lambda number: f"use again and say long {20 + number}", {}),
    "once": (lambda number: f"use once and say long {20 + number}", {}),
    "both": (lambda number: f"use again, use once, think {number}", {}),
    "human": (lambda number: f"approve and say long {20 + number}", {}),
}


class Crowd:
    """Sessions of every kind that always have prompts, each with a follower that survives the server."""

    def __init__(self, client: Client, callbacks: Callbacks) -> None:
        self.client = client
        self.accepted: dict[str, set[str]] = {}
        self.watchers: dict[str, Watcher] = {}
        self._callbacks = callbacks
        self._sent: Counter[str] = Counter()

    async def create(self, copies: int) -> None:
        tools = [
            self._callbacks.registration("again", idempotent=True),
            self._callbacks.registration("once", idempotent=False),
        ]
        for session_id in [f"{kind}-{copy}" for kind in KINDS for copy in range(copies)]:
            await self.client.create(session_id, providerOpts={"delayMs": 15}, tools=tools)
            self.accepted[session_id] = set()
            self.watchers[session_id] = Watcher(self.client, session_id)

    async def keep_busy(self) -> None:
        """Keeps two unfinished prompts in every session, and decides every approval."""
        for session_id in self.accepted:
            status = await self.client.get(f"/v1/sessions/{session_id}/status")
            for approval in status["pendingApprovals"]:
                body = {"approvalId": approval["approvalId"]}
                await self.client.post(f"/v1/sessions/{session_id}/approve", body, expect=200)
            for _ in range(2 - status["queue"] - (status["run"] is not None)):
                await self._prompt(session_id)

    async def finish(self) -> None:
        """Decides approvals until every accepted prompt has ended."""

        async def over() -> bool:
            states = [await self.client.get(f"/v1/sessions/{session_id}/status") for session_id in self.accepted]
            for session_id, status in zip(self.accepted, states, strict=True):
                for approval in status["pendingApprovals"]:
                    body = {"approvalId": approval["approvalId"]}
                    await self.client.post(f"/v1/sessions/{session_id}/approve", body, expect=200)
            return all(status["state"] == "idle" for status in states)

        await until(over, SETTLE_SECONDS, "every session idle")
        for session_id, watcher in self.watchers.items():
            await until(lambda w=watcher, s=session_id: w.has_seen_end(self.accepted[s]), 10, f"{session_id} watched")  # type: ignore[misc]

    async def stop(self) -> None:
        for watcher in self.watchers.values():
            await watcher.stop()

    async def _prompt(self, session_id: str) -> None:
        self._sent[session_id] += 1
        text = KINDS[session_id.split("-")[0]][0](self._sent[session_id])
        self.accepted[session_id].add(await self.client.prompt(session_id, text))


async def killed_legs(deployment: Deployment) -> list[str]:
    """Returns the runs whose leg died with the process.

    PostgreSQL finishes the commit that a killed process had sent, so this waits for its last connections.
    """
    if deployment.database_url:
        await until(partial(_alone, deployment), 20, "PostgreSQL ends the killed process's work")
    return [row[0] for row in deployment.rows("SELECT id FROM sessions_app_run WHERE state = 'running'")]


async def _alone(deployment: Deployment) -> bool:
    others = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    return not deployment.rows(others)


@pytest.mark.timeout(600)
async def test_fifty_deaths_cost_nothing_that_was_acknowledged(
    deployment: Deployment, process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "7"))
    print(f"seed {seed}")
    chance = random.Random(seed)
    server = process()
    async with callbacks_serving(chance) as callbacks:
        await server.start()
        crowd = Crowd(Client(http, server.url), callbacks)
        await crowd.create(copies=1)
        deaths: Counter[str] = Counter()
        kills = 0
        try:
            while deaths.total() < DEATHS:
                kills += 1
                assert kills <= MOST_KILLS, f"{deaths.total()} deaths only"
                await live(crowd.keep_busy, chance.uniform(0.2, LONGEST_LIFE))
                await server.kill()
                deaths.update(await killed_legs(deployment))
                await server.start()
            print(f"{deaths.total()} deaths of legs in {kills} deaths of the process")
            await crowd.finish()
            await check(deployment, crowd, callbacks, deaths)
        finally:
            await crowd.stop()


async def live(keep_busy: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Runs a process between two kills, with prompts all the time."""
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while loop.time() < end:
        await keep_busy()


async def check(deployment: Deployment, crowd: Crowd, callbacks: Callbacks, deaths: Counter[str]) -> None:
    for session_id, accepted in crowd.accepted.items():
        events = await crowd.client.log(session_id)
        laws.offsets_have_no_gap(events)
        laws.every_run_ends_once(events, accepted)
        laws.texts_are_whole(events)
        assert crowd.watchers[session_id].events == events
        retries_are_told(events, deaths)
        calls_were_made_once(events, callbacks)
    laws.usage_is_counted_once(deployment)


def retries_are_told(events: list[Event], deaths: Counter[str]) -> None:
    """Every death of a leg has a `run_retried`, except one without a further attempt."""
    told = Counter(event.data["requestId"] for event in events if event.type == "run_retried")
    given_up = {event.data["requestId"] for event in events if event.data.get("code") == "attempts_exhausted"}
    for run in {event.data["requestId"] for event in events}:
        # On PostgreSQL a process may die before the leg of the one before it was taken up: two deaths, one retry.
        most = deaths[run] - (run in given_up)
        assert min(1, most) <= told[run] <= most, run


def calls_were_made_once(events: list[Event], callbacks: Callbacks) -> None:
    """No request was made for a call after the one that settled it, and never two for `idempotent: false`."""
    for event in events:
        if event.type != "tool_execution_end" or event.data["toolName"] not in ("again", "once"):
            continue
        made = callbacks.requests[event.data["callId"]]
        if event.data["status"] == "ok":
            assert event.data["result"] == f"{event.data['callId']}#{made}"
        if event.data["toolName"] == "once":
            assert made <= 1


@pytest.mark.timeout(600)
async def test_three_deaths_without_progress_end_the_run_with_an_error(
    deployment: Deployment, process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    server = process()
    await server.start()
    client = Client(http, server.url)
    await client.create("stuck", providerOpts={"delayMs": 50})
    request_id = await client.prompt("stuck", "long 100000")
    for death in range(1, 4):

        async def streams(attempt: int = death) -> bool:
            starts = [event for event in await client.log("stuck") if event.type == "message_start"]
            return len(starts) == attempt

        await until(streams, 20, f"attempt {death} streams")
        await server.kill()
        assert await killed_legs(deployment) == [request_id]
        await server.start()

    async def is_idle() -> bool:
        return bool((await client.get("/v1/sessions/stuck"))["state"] == "idle")

    await until(is_idle, 20, "the run is given up")
    events = await client.log("stuck")
    laws.offsets_have_no_gap(events)
    assert [event.data["attempt"] for event in events if event.type == "run_retried"] == [2, 3]
    assert [event.type for event in events[-2:]] == ["error", "agent_abort"]
    assert events[-2].data["code"] == "attempts_exhausted"
    assert events[-1].data["reason"] == "error"


@pytest.mark.timeout(600)
async def test_an_answer_that_dies_with_its_process_is_in_the_ledger(
    deployment: Deployment, process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    """A model request that runs for longer than a second is written before it ends (docs/operating.md, Usage)."""
    server = process()
    await server.start()
    client = Client(http, server.url)
    await client.create("costly", providerOpts={"delayMs": 50})
    request_id = await client.prompt("costly", "long 200")
    kinds = "SELECT kind, output_tokens > 0 FROM tenants_app_ledgerentry WHERE run_id = ? ORDER BY response_no"

    def is_written() -> bool:
        return deployment.rows(kinds, [request_id]) != []

    await until(is_written, 20, "the running request is in the ledger")
    await server.kill()
    assert await killed_legs(deployment) == [request_id]
    await server.start()

    async def is_idle() -> bool:
        return bool((await client.get("/v1/sessions/costly"))["state"] == "idle")

    await until(is_idle, 60, "the run ends")
    assert [(kind, bool(some)) for kind, some in deployment.rows(kinds, [request_id])] == [
        ("session_open", True),
        ("session", True),
    ]
    laws.usage_is_counted_once(deployment)
