"""The only writer of a socket: replies and events leave in the order in which they were put in.

A request is answered however slowly its client reads. The outbox is bounded by its writers: the follower takes no
further events before the outbox is empty, and no frames are read beyond MAX_REPLIES waiting replies.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from django.conf import settings

from core_app.timeouts import Deadline
from edge_app.http.asgi import Send

MAX_REPLIES = 32


class Outbox:
    """Text frames on their way out; belongs to the loop. Its task exists only while there is something to write.

    `failed` is called with the exception that ended the writing: TimeoutError when a frame was not taken within
    GATEWAY_SLOW_FOLLOWER_SECONDS, or the server's own. Nothing is written after that.
    """

    __slots__ = ("_failed", "_frames", "_replies", "_send", "_writer")

    def __init__(self, send: Send, failed: Callable[[Exception], None]) -> None:
        self._send = send
        self._failed = failed
        self._frames: list[str] = []
        self._replies = 0
        self._writer: asyncio.Task[None] | None = None

    def put_events(self, frames: Iterable[str]) -> None:
        """Puts events in."""
        self._frames.extend(frames)
        self._begin()

    def put_reply(self, frame: str) -> None:
        """Puts a reply in."""
        self._frames.append(frame)
        self._replies += 1
        self._begin()

    @property
    def crowded(self) -> bool:
        """True while the client sends more requests than it reads replies."""
        return self._replies >= MAX_REPLIES

    async def flush(self) -> None:
        """Waits until everything has been handed to the server, or writing has ended."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    def cancel(self) -> None:
        """Stops writing at once."""
        if self._writer is not None:
            self._writer.cancel()

    def _begin(self) -> None:
        if self._writer is None and self._frames:
            self._writer = asyncio.create_task(self._write())

    async def _write(self) -> None:
        try:
            while self._frames:
                frames, self._frames = self._frames, []
                for frame in frames:
                    async with Deadline(settings.GATEWAY_SLOW_FOLLOWER_SECONDS):
                        await self._send({"type": "websocket.send", "text": frame})
        except Exception as error:  # the owner decides what it means
            self._failed(error)
        else:
            self._replies, self._writer = 0, None
