"""The client under a gateway that is killed again and again: its caller gets the log, without a gap or a repetition."""

from __future__ import annotations

import asyncio
from typing import Literal

import pytest

from gateway_client import AsyncGateway, Event
from tests.client.conftest import QUICK
from tests.client.test_sessions import all_events
from tests.stack.conftest import Start
from tests.stack.deployment import KEY

DEATHS = 4


@pytest.mark.parametrize("via", ["sse", "websocket"])
async def test_a_chat_survives_kills_of_its_server(process: Start, via: Literal["sse", "websocket"]) -> None:
    def again() -> str:
        """A tool that the client runs."""
        return "done"

    server = process()
    await server.start()
    async with AsyncGateway(server.url, KEY, timeouts=QUICK) as gateway:
        session = await gateway.sessions.create("demo:tour", tools=[again], provider_opts={"delayMs": 20})
        grew = asyncio.Condition()
        runs: list[list[Event]] = []

        async def chat() -> None:
            while len(runs) <= DEATHS:
                runs.append([])
                prompt = f"use again, approve and say long {40 + len(runs)}"
                async for event in session.prompt(prompt, via=via, on_approval=lambda approval: True):
                    async with grew:
                        runs[-1].append(event)
                        grew.notify_all()

        async def kill() -> None:
            for number in range(DEATHS):
                async with grew:
                    while len(runs) <= number or len(runs[number]) <= 12 + 7 * number:
                        await grew.wait()
                await server.kill()
                await server.start()

        async with asyncio.timeout(240), asyncio.TaskGroup() as group:
            group.create_task(chat())
            group.create_task(kill())
        log = await all_events(gateway, session.id)
        for run in runs:
            assert run == [event for event in log if event.data["requestId"] == run[-1].request_id]
            assert run[-1].type == "agent_end"
        followed = session.events(via=via)
        assert [await anext(followed) for _ in log] == log
        await followed.aclose()
