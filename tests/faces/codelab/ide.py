"""A client of the Codelab socket, written from the protocol's document."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

from websockets.asyncio.client import ClientConnection, connect

from tests.faces.socket_frames import SocketFrames

TEST_KEY = "internal-test-key"


class Ide(SocketFrames):
    """One connection."""

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__(connection)
        self._unread: deque[dict[str, Any]] = deque()

    async def send(self, kind: str, **fields: Any) -> None:
        """Sends a message."""
        await self.connection.send(json.dumps({"type": kind, **fields}))

    async def frame(self, *kinds: str) -> dict[str, Any]:
        """Returns the next frame, of one of these types when any are given."""
        while True:
            while not self._unread:
                await self.take()
            frame = self._unread.popleft()
            if not kinds or frame["type"] in kinds:
                return frame

    async def answer(self) -> list[str]:
        """Returns the tokens of an answer, read to its end."""
        tokens = []
        while not (frame := await self.frame("assistant_message"))["is_final"]:
            tokens.append(frame["token"])
        return tokens

    def sort(self, frame: dict[str, Any]) -> None:
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
