"""Frames of a test's WebSocket client: each is JSON text and comes in time, and the last word is the close code."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from tests.gateway_harness import WAIT


class SocketFrames:
    """The frames of one connection. A protocol's client sorts them in `sort`."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[dict[str, Any]] = []
        """Every frame in the order of its arrival."""

    def sort(self, frame: dict[str, Any]) -> None:
        """Keeps a frame for those who wait for its kind."""
        raise NotImplementedError

    async def take(self) -> None:
        """Reads the next frame; raises ConnectionClosed."""
        async with asyncio.timeout(WAIT):
            received = await self.connection.recv()
        assert isinstance(received, str), "frames are text"
        frame = json.loads(received)
        self.frames.append(frame)
        self.sort(frame)

    async def send_raw(self, frame: str | bytes) -> None:
        """Sends a frame as it is."""
        await self.connection.send(frame)

    async def close_code(self) -> int:
        """Reads to the end and returns the code of the close; 1006 where there was none."""
        try:
            while True:
                await self.take()
        except ConnectionClosed as close:
            return close.rcvd.code if close.rcvd is not None else 1006
