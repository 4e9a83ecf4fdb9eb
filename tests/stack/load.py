"""Clients of many sessions on several web processes, any of which may die.

A prompt whose response was lost may have been accepted, which the log shows. `check` compares the log with REST, the
followers and the ledger, by the laws that hold whatever was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp

from tests.stack import laws
from tests.stack.bus_reader import BusReader
from tests.stack.callbacks import Callbacks
from tests.stack.client import Client, Event, Seen, until
from tests.stack.deployment import Deployment
from tests.stack.reader import Reader

ANSWER_SECONDS = 5.0
"""A frozen process answers nothing, so the client turns to another."""

AT_ONCE = 16
TRIES = 40

KINDS: dict[str, Callable[[int], str]] = {
    "long": lambda number: f"long {60 + number % 40}",
    "again": lambda number: f"use again and say long {30 + number % 40}",
    "once": lambda number: f"use once and say long {30 + number % 40}",
    "both": lambda number: f"use again, use once, think {number}",
    "human": lambda number: f"approve and say long {30 + number % 40}",
}


class Refused(aiohttp.ClientError):
    """A process answered with an error."""


class Roamer(Client):
    """A client that sends requests to any of several processes, and follows any that accepts it."""

    def __init__(self, http: aiohttp.ClientSession, urls: Sequence[str], chance: random.Random) -> None:
        super().__init__(http, urls[0])
        self.urls = urls
        self._chance = chance

    async def insist(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Repeats a request until a process answers; only for requests that may be repeated."""
        for _ in range(TRIES):
            with contextlib.suppress(Refused, aiohttp.ClientError, ConnectionError, TimeoutError):
                return await self.attempt(ask)
            await asyncio.sleep(0.5)
        return await self.attempt(ask)

    async def attempt(self, ask: Callable[[], Awaitable[Any]]) -> Any:
        """Sends a request to one process, once."""
        self.url = self._chance.choice(self.urls)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                return await ask()
        except AssertionError as answer:
            raise Refused(str(answer)) from answer

    async def follow(self, session_id: str, after: str = "0") -> AsyncIterator[Event | str]:
        self.url = self._chance.choice(self.urls)
        try:
            async for event in super().follow(session_id, after):
                yield event
        except AssertionError as answer:
            raise Refused(str(answer)) from answer


@dataclass(frozen=True)
class Promise:
    """The prompts that are accepted and the requests for tools that are made at one moment."""

    accepted: dict[str, set[str]]
    requests: Counter[str]
    moment: datetime


class Load:
    """Sessions of every kind, each with a follower."""

    def __init__(self, client: Roamer, callbacks: Callbacks, prefix: str) -> None:
        self.client = client
        self.callbacks = callbacks
        self.accepted: dict[str, set[str]] = {}
        self.watchers: dict[str, Reader] = {}
        self.followers: list[Reader | BusReader] = []
        """Everybody who follows a session; they may leave and come back."""
        self.seen: dict[str, list[Seen]] = {}
        """The events of a session that each follower was shown."""
        self.unanswered = 0
        self.uncertain = 0
        """Prompts that were accepted in moments that the database may have lost."""
        self.history = 0
        """The number of times that the database has gone back."""
        self.forgotten: list[laws.Span] = []
        """The spans of which it may have lost everything."""
        self._prefix = prefix
        self._chance = random.Random(prefix)
        self._sent: Counter[str] = Counter()
        self._approved: set[str] = set()
        self._gate = asyncio.Semaphore(AT_ONCE)

    async def create(self, count: int, delay_ms: int = 25) -> None:
        """Creates `count` sessions, of each kind in turn."""
        tools = [
            self.callbacks.registration("again", idempotent=True),
            self.callbacks.registration("once", idempotent=False),
        ]
        kinds = list(KINDS)
        names = [f"{kinds[number % len(kinds)]}-{self._prefix}-{number}" for number in range(count)]
        await self._each(names, lambda name: self._create(name, tools, delay_ms))

    async def keep_busy(self) -> None:
        """Keeps an unfinished prompt in every session, and decides every approval; a failure is repeated later."""
        await self._each(list(self.accepted), self._go_on)

    async def finish(self, seconds: float) -> None:
        """Decides approvals until every accepted prompt has ended, and every follower has seen it."""

        async def over() -> bool:
            await self._each(list(self.accepted), self._decide)
            return all(watcher.has_seen_end(self.accepted[name]) for name, watcher in self.watchers.items())

        try:
            await until(over, seconds, "every accepted prompt has ended")
        except AssertionError as late:
            open_ = [name for name, watcher in self.watchers.items() if not watcher.has_seen_end(self.accepted[name])]
            raise AssertionError(f"{late}: {len(open_)} sessions, among them {open_[:10]}") from None

    async def check(self, deployment: Deployment) -> None:
        """Checks every law of every session."""
        for name, accepted in self.accepted.items():
            await self._wait_settled(name)
            events: list[Event] = await self.client.insist(partial(self.client.log, name))
            received = {event.data["requestId"] for event in events if event.type == "prompt_received"}
            assert accepted <= received, f"{name} lost {accepted - received}"
            laws.positions_rise(events)
            laws.every_run_ends_once(events, received)
            laws.texts_are_whole(events)
            for seen in self.seen[name]:
                await until(lambda s=seen, e=events: s.events[-1:] == e[-1:], 20, f"{name} watched")  # type: ignore[misc]
                laws.reader_has_the_log(seen, events, went_back=self.history > 0)
            approvals_are_resolved_once(events)
            calls_were_made_once(events, self.callbacks)
        laws.usage_is_counted_once(deployment, self.forgotten)

    async def stop(self) -> None:
        await asyncio.gather(*(follower.stop() for follower in self.followers))

    def follow(self, name: str) -> Reader:
        """Adds a follower of a session over SSE."""
        reader = Reader(self.client, name)
        self.followers.append(reader)
        self.seen.setdefault(name, []).append(reader)
        return reader

    def follow_by_bus(self, count: int, each: int) -> None:
        """Adds Agentbus clients, of which each follows `each` sessions; together they follow all equally."""
        names = list(self.accepted)
        for number in range(count):
            followed = {names[(number * each + step) % len(names)] for step in range(each)}
            client = BusReader(f"{self._prefix}-{number}", self.client.urls, sorted(followed), self._chance)
            self.followers.append(client)
            for name, seen in client.sessions.items():
                self.seen[name].append(seen)

    def promise(self) -> Promise:
        """Returns what a copy of the database that is made from now on has."""
        accepted = {name: set(runs) for name, runs in self.accepted.items()}
        return Promise(accepted, self.callbacks.requests.copy(), datetime.now(UTC))

    def step_back(self, promise: Promise) -> None:
        """Notes that the database may have lost everything since the promise."""
        self.history += 1
        self.forgotten.append((promise.moment, datetime.now(UTC)))
        for name, runs in self.accepted.items():
            self.uncertain += len(runs - promise.accepted[name])
            runs &= promise.accepted[name]
        made = self.callbacks.requests.items()
        self.callbacks.uncertain |= {call for call, count in made if count != promise.requests[call]}
        self._approved.clear()

    def unfinished_prompts(self, name: str) -> set[str]:
        """Returns the accepted prompts whose end the follower has not seen."""
        return self.accepted[name] - self.watchers[name].over

    async def _create(self, name: str, tools: list[dict[str, object]], delay_ms: int) -> None:
        async def ask() -> None:
            try:
                await self.client.create(name, providerOpts={"delayMs": delay_ms}, tools=tools)
            except AssertionError as refusal:
                # An attempt before this one was performed after its client had given up.
                if "is in use" not in str(refusal):
                    raise

        await self.client.insist(ask)
        self.accepted[name] = set()
        self.watchers[name] = self.follow(name)

    async def _go_on(self, name: str) -> None:
        await self._decide(name)
        if not self.unfinished_prompts(name):
            self._sent[name] += 1
            text = KINDS[name.split("-")[0]](self._sent[name])
            history = self.history
            try:
                accepted = await self.client.attempt(lambda: self.client.prompt(name, text))
                if history == self.history:
                    self.accepted[name].add(accepted)
                else:
                    self.uncertain += 1
            except (aiohttp.ClientError, ConnectionError, TimeoutError):
                self.unanswered += 1

    async def _decide(self, name: str) -> None:
        for approval in self.watchers[name].asked - self._approved:
            body, history = {"approvalId": approval}, self.history
            with contextlib.suppress(aiohttp.ClientError, ConnectionError, TimeoutError):
                path = f"/v1/sessions/{name}/approve"
                await self.client.attempt(partial(self.client.post, path, body, expect=200))
                if history == self.history:
                    self._approved.add(approval)

    async def _wait_settled(self, name: str) -> None:
        """Waits until the session is idle: prompts whose response was lost run too."""

        async def is_idle() -> bool:
            await self._decide(name)
            path = f"/v1/sessions/{name}/status"
            return bool((await self.client.insist(lambda: self.client.get(path)))["state"] == "idle")

        await until(is_idle, 60, f"{name} idle")

    async def _each(self, names: list[str], work: Callable[[str], Awaitable[None]]) -> None:
        async def one(name: str) -> None:
            async with self._gate:
                await work(name)

        async with asyncio.TaskGroup() as group:
            for name in names:
                group.create_task(one(name))


def approvals_are_resolved_once(events: Sequence[Event]) -> None:
    """Every approval was decided exactly once, unless its run had ended before."""
    asked = Counter(event.data["approvalId"] for event in events if event.type == "approval_required")
    resolved = Counter(event.data["approvalId"] for event in events if event.type == "approval_resolved")
    assert asked == resolved
    assert set(asked.values()) <= {1}


def calls_were_made_once(events: Sequence[Event], callbacks: Callbacks) -> None:
    """No request was made for a call after the one that settled it, and never two for `idempotent: false`, as far as
    the gateway can remember the call."""
    for event in events:
        if event.type != "tool_execution_end" or event.data["toolName"] not in ("again", "once"):
            continue
        made = callbacks.requests[event.data["callId"]]
        if event.data["callId"] in callbacks.uncertain:
            # Made before the database went back, it may be made again, and the result is that of one of both.
            continue
        if event.data["status"] == "ok":
            assert event.data["result"] == f"{event.data['callId']}#{made}"
        if event.data["toolName"] == "once":
            assert made <= 1
