"""The JavaScript client under a gateway that is killed again and again: its caller gets the log, as it is."""

from __future__ import annotations

import asyncio

import pytest

from gateway_client import AsyncGateway, Event
from tests.client.conftest import QUICK
from tests.client.node import PROGRAMS, event_of, flags, program
from tests.client.restarts import DEATHS, SECONDS, Killer
from tests.client.test_sessions import all_events
from tests.stack.conftest import Start
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

VIAS = (("sse", "node.js"), ("websocket", "node.js"), ("websocket", "index.js"))
"""The last one is the WebSocket that browsers have."""


class Chat:
    """A node program that chats until it is stopped."""

    def __init__(self, via: str, entry: str) -> None:
        self.via = via
        self.entry = entry
        self.runs: dict[int, list[Event]] = {}
        self.followed: list[Event] = []
        self.session_id = ""

    async def run(self, server: GatewayProcess, killer: Killer, number: int, stopped: asyncio.Event) -> None:
        async with program(*flags(), PROGRAMS / "chat.js", server.url, KEY, self.via, self.entry) as node:
            stop = asyncio.create_task(node.end_input_after(stopped))
            async for value in node.values():
                if "session" in value:
                    self.session_id = value["session"]
                elif "run" in value:
                    self.runs.setdefault(value["run"], []).append(event_of(value["event"]))
                    await killer.count(number)
                else:
                    self.followed.append(event_of(value["event"]))
            await stop


@pytest.mark.timeout(2 * SECONDS)
async def test_chats_survive_kills_of_their_server(process: Start) -> None:
    server = process()
    server.variables["GATEWAY_MAX_ATTEMPTS"] = str(DEATHS + 1)  # a run may meet every death
    await server.start()
    killer, stopped = Killer(server, len(VIAS)), asyncio.Event()
    chats = [Chat(*each) for each in VIAS]
    async with asyncio.timeout(SECONDS), asyncio.TaskGroup() as group:
        for number, chat in enumerate(chats):
            group.create_task(chat.run(server, killer, number, stopped))
        await killer.run()
        stopped.set()
    async with AsyncGateway(server.url, KEY, timeouts=QUICK) as gateway:
        for chat in chats:
            log = await all_events(gateway, chat.session_id)
            for run in chat.runs.values():
                assert run == [event for event in log if event.data["requestId"] == run[-1].request_id]
                assert run[-1].type == "agent_end"
            assert chat.followed == log
