"""The client under a gateway that is killed again and again: its caller gets the log, without a gap or a repetition."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from gateway_client import AsyncGateway, Event
from tests.client.conftest import QUICK
from tests.client.restarts import DEATHS, SECONDS, Killer
from tests.client.test_sessions import all_events
from tests.stack.conftest import Start
from tests.stack.deployment import KEY

Via = Literal["sse", "websocket"]
VIAS: tuple[Via, ...] = ("sse", "websocket")


class Chat:
    """Runs of a session, each with a tool of the client and an approval, until `stopped`."""

    def __init__(self, gateway: AsyncGateway, via: Via) -> None:
        self.gateway = gateway
        self.via = via
        self.runs: list[list[Event]] = []

    async def run(self, killer: Killer, number: int, stopped: asyncio.Event) -> None:
        def again() -> str:
            """A tool that the client runs."""
            return "done"

        self.session = await self.gateway.sessions.create("demo:tour", tools=[again], provider_opts={"delayMs": 20})
        while not stopped.is_set():
            self.runs.append([])
            stream = self.session.prompt(
                "use again, approve and say long 60", via=self.via, on_approval=lambda approval: True
            )
            async for event in stream:
                self.runs[-1].append(event)
                await killer.count(number)

    async def check(self) -> None:
        """Compares what it got with the log."""
        log = await all_events(self.gateway, self.session.id)
        for run in self.runs:
            assert run == [event for event in log if event.data["requestId"] == run[-1].request_id]
            assert run[-1].type == "agent_end"
        followed = self.session.events(via=self.via)
        assert [await anext(followed) for _ in log] == log
        await followed.aclose()


@pytest.mark.timeout(2 * SECONDS)
async def test_chats_survive_kills_of_their_server(process: Start) -> None:
    server = process()
    server.variables["GATEWAY_MAX_ATTEMPTS"] = str(DEATHS + 1)  # a run may meet every death
    await server.start()
    killer, stopped = Killer(server, len(VIAS)), asyncio.Event()
    async with AsyncGateway(server.url, KEY, timeouts=QUICK) as gateway:
        chats = [Chat(gateway, via) for via in VIAS]
        async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
            for number, chat in enumerate(chats):
                group.create_task(chat.run(killer, number, stopped))
            await killer.run()
            stopped.set()
        for chat in chats:
            await chat.check()
