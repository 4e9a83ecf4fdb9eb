"""The gateway behind its real server, and a raw client of the socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.conftest import Caller
from tests.faces.inference.scripted import SSE, Reply, chunk, sse
from tests.faces.native.conftest import api, gateway, server
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import WAIT

__all__ = ["api", "gateway", "server"]

Json = dict[str, Any]
Connect = Callable[..., Any]
LAST = ("response.completed", "response.incomplete", "response.failed", "error")


class Socket:
    """One connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection

    async def send(self, **frame: Any) -> None:
        await self.connection.send(json.dumps(frame))

    async def create(self, text: str = "One", **fields: Any) -> None:
        """Sends a request for a response."""
        await self.send(type="response.create", **{"model": "c:m", "input": text, **fields})

    async def steer(self, response_id: str, given: Any = "Also this.") -> None:
        await self.send(type="response.steer", previous_response_id=response_id, input=given)

    async def event(self, *types: str) -> Json:
        """Returns the next event, of one of these types when any are given."""
        while True:
            async with asyncio.timeout(WAIT):
                event: Json = json.loads(await self.connection.recv())
            if not types or event["type"] in types:
                return event

    async def to_end(self) -> list[Json]:
        """Returns the events up to the end of a response, or to an error."""
        events = [await self.event()]
        while events[-1]["type"] not in LAST:
            events.append(await self.event())
        return events

    async def response(self, text: str = "One", **fields: Any) -> Json:
        """Asks for a response and returns it as its last event has it."""
        await self.create(text, **fields)
        last = (await self.to_end())[-1]
        assert "response" in last, last
        found: Json = last["response"]
        return found

    async def closed(self) -> int:
        """Reads until the socket is closed; returns the code."""
        with suppress(ConnectionClosed):
            while True:
                await self.event()
        return self.connection.close_code or 0


@pytest.fixture
def dial(server: LiveServer, owner: Caller) -> Connect:
    """Opens sockets."""

    @asynccontextmanager
    async def dial(caller: Caller | None = owner, **options: Any) -> AsyncIterator[Socket]:
        headers = {} if caller is None else caller.headers
        url = f"ws://127.0.0.1:{server.port}/v1/responses"
        async with connect(url, additional_headers=headers, max_size=None, **options) as connection:
            yield Socket(connection)

    return dial


def calls(*names: str) -> Reply:
    """Returns a provider's stream that calls tools."""
    deltas = [
        {"index": at, "id": f"call_{at}", "type": "function", "function": {"name": name, "arguments": "{}"}}
        for at, name in enumerate(names)
    ]
    pieces = [sse(chunk({"role": "assistant", "tool_calls": [delta]})) for delta in deltas]
    return Reply(pieces=[*pieces, sse(chunk({}, "tool_calls"), b"data: [DONE]\n\n")], headers=SSE)


def thinking(text: str, gate: asyncio.Event) -> Reply:
    """Returns a provider's stream that thinks, and says something once the gate is open."""
    pieces = [
        sse(chunk({"role": "assistant", "reasoning_content": "Well."})),
        sse(chunk({"content": text}), chunk({}, "stop"), b"data: [DONE]\n\n"),
    ]
    return Reply(pieces=pieces, headers=SSE, gate=gate)


def said(request: Json) -> list[tuple[str, Any]]:
    """Returns what a provider was shown, as roles and contents."""
    return [(message["role"], message.get("content")) for message in request["messages"]]


def types_of(events: Sequence[Json]) -> list[str]:
    return [event["type"] for event in events]
