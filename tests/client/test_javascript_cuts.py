"""The JavaScript client on connections that are cut after any number of bytes: what it hands on is the log."""

from __future__ import annotations

import asyncio

import pytest

from gateway_client import AsyncGateway, Event
from tests.client.node import PROGRAMS, event_of, program
from tests.client.test_cuts import cutting
from tests.client.test_sessions import all_events
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

SECONDS = 240


@pytest.mark.parametrize("via", ["sse", "websocket"])
async def test_a_stream_that_is_cut_at_any_byte_is_resumed(
    gateway: AsyncGateway, served: GatewayProcess, via: str
) -> None:
    session = await gateway.sessions.create("demo:echo")
    await session.prompt("é").result()
    await session.delete()
    log = await all_events(gateway, session.id)
    arguments = (PROGRAMS / "follow_again.js", KEY, session.id, via)
    async with asyncio.timeout(SECONDS), cutting(served) as proxy, program(*arguments, proxy.url) as node:

        async def seen() -> list[Event]:
            node.write_line("again")
            value = await node.read()
            assert value is not None
            return [event_of(event) for event in value["events"]]

        assert await seen() == log
        length = proxy.passed
        assert length > 1000
        for limit in range(length):
            proxy.limit = limit
            while proxy.limit is not None:  # a connection of before may be used again, and is not cut
                assert await seen() == log, limit
