"""A client of the Codelab socket, written from the protocol's document."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.gateway_harness import WAIT

TEST_KEY = "internal-test-key"


class Ide:
    """One connection. `frames` has every frame in the order of its arrival."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self.frames: list[dict[str, Any]] = []
        self._unread: deque[dict[str, Any]] = deque()

    async def send(self, kind: str, **fields: Any) -> None:
        """Sends a message."""
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def frame(self, *kinds: str) -> dict[str, Any]:
        """Returns the next frame, of one of these types when any are given."""
        while True:
            while not self._unread:
                await self._take()
            frame = self._unread.popleft()
            if not kinds or frame["type"] in kinds:
                return frame

    async def answer(self) -> list[str]:
        """Returns the tokens of an answer, read to its end."""
        tokens = []
        while not (frame := await self.frame("assistant_message"))["is_final"]:
            tokens.append(frame["token"])
        return tokens

    async def close_code(self) -> int:
        """Reads to the end and returns the code of the close."""
        try:
            while True:
                await self._take()
        except ConnectionClosed as close:
            return close.rcvd.code if close.rcvd is not None else 1006

    async def _take(self) -> None:
        async with asyncio.timeout(WAIT):
            received = await self.connection.recv()
        assert isinstance(received, str), "frames are text"
        frame = json.loads(received)
        self.frames.append(frame)
        self._unread.append(frame)


@asynccontextmanager
async def ide(
    port: int, session: str, secret: str | None = None, *, path: str = "/ws/", headers: Any = None, **query: Any
) -> AsyncIterator[Ide]:
    """Connects to a session."""
    address = f"ws://127.0.0.1:{port}{path}{session}?{urlencode(query)}"
    given = {} if secret is None else {"X-API-Key": secret}
    options: dict[str, Any] = {"compression": None, "proxy": None, "max_size": None, "close_timeout": 1}
    async with connect(address, additional_headers={**given, **(headers or {})}, **options) as connection:
        yield Ide(connection)
