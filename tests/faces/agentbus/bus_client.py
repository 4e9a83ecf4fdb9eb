"""A client of the Agentbus socket, written from the protocol's document."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.faces.socket_frames import SocketFrames


class BusClient(SocketFrames):
    """One connection. Checks that events are numbered from 1 without a gap."""

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__(connection)
        self.nonce = ""
        self._events: deque[dict[str, Any]] = deque()
        self._replies: deque[dict[str, Any]] = deque()
        self._ids = 0
        self._seq = 0

    async def send(self, method: str, params: Any = None) -> str:
        """Sends a request; returns its id."""
        self._ids += 1
        name = f"r{self._ids}"
        await self.send_raw(json.dumps({"type": "req", "id": name, "method": method, "params": params}))
        return name

    async def request(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a request and returns its response, which has to be the next one."""
        name = await self.send(method, params)
        response = await self.response()
        assert response["id"] == name
        return response

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Sends a request and returns its payload."""
        response = await self.request(method, **params)
        assert response["ok"], response
        assert response["error"] is None
        payload: dict[str, Any] = response["payload"]
        return payload

    async def refused(self, method: str, **params: Any) -> int:
        """Sends a request that is refused; returns the code."""
        response = await self.request(method, **params)
        assert not response["ok"], response
        assert response["payload"] is None
        code: int = response["error"]["code"]
        return code

    async def response(self) -> dict[str, Any]:
        """Returns the next response."""
        while not self._replies:
            await self.take()
        return self._replies.popleft()

    async def event(self, *names: str) -> dict[str, Any]:
        """Returns the payload of the next event, of one of these names when any are given."""
        while True:
            while not self._events:
                await self.take()
            event = self._events.popleft()
            if not names or event["event"] in names:
                return dict(event["payload"])

    async def sign_in(self, **params: Any) -> dict[str, Any]:
        """Takes the challenge, and sends `connect` with these parameters."""
        if not self.nonce:
            self.nonce = (await self.event("connect.challenge"))["nonce"]
        return await self.request("connect", **{"client_id": "client-1", "client_name": "tests", **params})

    def sort(self, frame: dict[str, Any]) -> None:
        assert isinstance(frame["timestamp"], float)
        if frame["type"] == "event":
            self._seq += 1
            assert frame["seq"] == self._seq
            self._events.append(frame)
        else:
            assert frame["type"] == "res"
            self._replies.append(frame)


@asynccontextmanager
async def bus(port: int, path: str = "/rpc", **options: Any) -> AsyncIterator[BusClient]:
    """Connects, without signing in."""
    address = f"ws://127.0.0.1:{port}{path}"
    given = {"compression": None, "proxy": None, "max_size": None, "close_timeout": 1, **options}
    async with connect(address, **given) as connection:
        yield BusClient(connection)


@asynccontextmanager
async def signed_in(port: int, secret: str, **params: Any) -> AsyncIterator[BusClient]:
    """Connects and signs in with an API key."""
    async with bus(port) as client:
        response = await client.sign_in(auth_token=secret, **params)
        assert response["ok"], response
        yield client
