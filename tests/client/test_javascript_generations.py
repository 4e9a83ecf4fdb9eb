"""The JavaScript client when a backup is restored under it: it is told what is void, and has the log after that."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, ExitStack

import pytest

from gateway_client import AsyncGateway, Event
from gateway_client.events import EventsDropped
from tests.client.conftest import QUICK
from tests.client.node import PROGRAMS, Program, event_of, flags, program
from tests.client.test_sessions import all_events
from tests.stack.conftest import Start
from tests.stack.deployment import KEY, Deployment
from tests.stack.test_backup import restore_copy
from tests.stack.test_restore import put_back

VIAS = (("sse", "node.js"), ("websocket", "node.js"), ("websocket", "index.js"))
SECONDS = 240


class Follower:
    """A node program that follows the session, and what a user makes of what it prints."""

    def __init__(self, node: Program) -> None:
        self._node = node
        self.log: list[Event] = []
        self.dropped: list[EventsDropped] = []

    async def read_to(self, position: str | None) -> None:
        """Reads up to an event, or to the end."""
        while not self.log or self.log[-1].id != position:
            value = await self._node.read()
            if value is None:
                assert position is None
                return
            self.take(event_of(value))

    def take(self, event: Event) -> None:
        """Keeps an event; whatever comes after the position of a reset is void."""
        if not isinstance(event, EventsDropped):
            self.log.append(event)
            return
        self.dropped.append(event)
        ids = [each.id for each in self.log]
        self.log = self.log[: ids.index(str(event.to)) + 1]


@pytest.mark.timeout(2 * SECONDS)
async def test_followers_have_the_log_after_a_restore(deployment: Deployment, process: Start) -> None:
    first = process("first")
    await first.start()
    async with AsyncExitStack() as stack, AsyncGateway(first.url, KEY, timeouts=QUICK) as gateway:
        await stack.enter_async_context(asyncio.timeout(SECONDS))
        session = await gateway.sessions.create("demo:echo")
        await session.prompt("kept").result()
        followers = []
        for via, entry in VIAS:
            arguments = (PROGRAMS / "follow.js", first.url, KEY, session.id, via, entry)
            followers.append(Follower(await stack.enter_async_context(program(*flags(), *arguments))))
        copy = await asyncio.to_thread(restore_copy, deployment, stack.enter_context(ExitStack()))
        lost = session.prompt("words that are lost")
        await lost.result()
        for follower in followers:
            await follower.read_to(lost.position)
        await put_back(copy, first, process("second", copy))
        await session.prompt("words in their place, and more of them than there were before").result()
        await session.delete()
        log = await all_events(gateway, session.id)
        for follower in followers:
            await follower.read_to(None)
            assert follower.log == log
            assert [event.reason for event in follower.dropped] == ["reset"]
