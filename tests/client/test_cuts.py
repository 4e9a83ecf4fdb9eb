"""Connections that are cut after any number of bytes: what the client hands on is the log all the same."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit
from uuid import uuid4

import pytest

from gateway_client import AsyncGateway, ConnectionFailed, Event, Timeouts
from gateway_client.events import ApprovalRequired
from gateway_client.sse import FrameParser
from tests.client.test_sessions import all_events
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

AT_ONCE = Timeouts(first_pause=0.0001, longest_pause=0.01, resume=60)


@dataclass
class CuttingProxy:
    """A TCP proxy that cuts the next connection after `limit` bytes of the server's, and then none."""

    host: str
    port: int
    limit: int | None = None
    url: str = ""
    passed: int = 0
    """Bytes of the server's that the last connection got."""
    open: set[asyncio.Task[None]] = field(default_factory=set)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self.serve(reader, writer))
        self.open.add(task)
        task.add_done_callback(self.open.discard)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()  # a connection that a client keeps in reserve
            return
        limit, self.limit = self.limit, None
        there, back = await asyncio.open_connection(self.host, self.port)
        if b"upgrade:" not in request.lower():
            request = re.sub(rb"(?i)connection: keep-alive\r\n", b"Connection: close\r\n", request)
        back.write(request)
        upwards = asyncio.create_task(pump(reader, back))
        self.passed = 0
        try:
            while limit is None or limit > 0:
                piece = await there.read(65536 if limit is None else limit)
                if not piece:
                    break
                limit = None if limit is None else limit - len(piece)
                self.passed += len(piece)
                writer.write(piece)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            upwards.cancel()
            await asyncio.gather(upwards, return_exceptions=True)
            for each in (writer, back):
                each.close()
                with suppress(ConnectionError):
                    await each.wait_closed()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)


@asynccontextmanager
async def cutting(served: GatewayProcess) -> AsyncIterator[CuttingProxy]:
    address = urlsplit(served.url)
    proxy = CuttingProxy(str(address.hostname), int(address.port or 0))
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server:
        try:
            yield proxy
        finally:
            for task in list(proxy.open):
                task.cancel()
            await asyncio.gather(*proxy.open, return_exceptions=True)


@pytest.mark.parametrize("via", ["sse", "websocket"])
async def test_a_stream_that_is_cut_at_any_byte_is_resumed(
    gateway: AsyncGateway, served: GatewayProcess, via: Literal["sse", "websocket"]
) -> None:
    session = await gateway.sessions.create("demo:echo")
    await session.prompt("é").result()
    await session.delete()
    log = await all_events(gateway, session.id)
    async with cutting(served) as proxy, AsyncGateway(proxy.url, KEY, timeouts=AT_ONCE) as cut:
        followed = await cut.sessions.get(session.id)

        async def seen(limit: int | None) -> list[Event]:
            proxy.limit = limit
            return [event async for event in followed.events(via=via)]

        assert await seen(None) == log
        length = proxy.passed
        assert length > 1000
        for limit in range(length):
            assert await seen(limit) == log, limit


async def test_a_request_whose_response_is_lost_is_performed_once(
    gateway: AsyncGateway, served: GatewayProcess
) -> None:
    group = f"g-{uuid4().hex}"
    async with cutting(served) as proxy, AsyncGateway(proxy.url, KEY, timeouts=AT_ONCE) as cut:
        proxy.limit = 1
        session = await cut.sessions.create("demo:tour", group_id=group)
        proxy.limit = 1
        receipt = await session.send("approve")
        async for event in session.resume(receipt.request_id, timeout=60):
            if isinstance(event, ApprovalRequired):
                proxy.limit = 1
                await session.approve(event.approval_id, args_hash=event.args_hash)
        assert [run.request_id async for run in session.runs()] == [receipt.request_id]
        assert [info.session_id async for info in gateway.sessions.list(group_id=group)] == [session.id]
        decisions = [event for event in await all_events(gateway, session.id) if event.type == "approval_resolved"]
        assert len(decisions) == 1


async def test_a_request_that_must_not_be_performed_twice_is_not_repeated(served: GatewayProcess) -> None:
    async with cutting(served) as proxy, AsyncGateway(proxy.url, KEY, timeouts=AT_ONCE) as cut:
        session = await cut.sessions.create("demo:tour")
        stream = session.prompt("approve", timeout=60)
        while not isinstance(await anext(stream), ApprovalRequired):
            continue
        proxy.limit = 1
        with pytest.raises(ConnectionFailed, match="may have been performed"):
            await session.abort()
        assert [event.type async for event in stream][-1] == "agent_abort"


def test_the_parser_takes_pieces_of_any_size() -> None:
    lines = 'retry: 1000\n\nid: 1\nevent: a\ndata: {"é":1}\n\n'
    lines += ": heartbeat\nid: 2.7\n\nevent: b\nid: 3\ndata: {}\n\n"
    text = lines.encode()
    whole = FrameParser().feed(text)
    assert [(frame.type, frame.id) for frame in whole] == [("a", "1"), ("message", "2.7"), ("b", "3")]
    for first in range(len(text)):
        for second in range(first, len(text)):
            parser = FrameParser()
            pieces = (text[:first], text[first:second], text[second:])
            assert [frame for piece in pieces for frame in parser.feed(piece)] == whole
