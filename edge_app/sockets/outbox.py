"""The one writer of a socket: answers and events leave in the order in which they were put in.

An action is done at once however slowly its client reads; what waits here is bounded by whoever puts: the
follower takes no further events before the outbox is empty, and no frames are read past MAX_ANSWERS answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from django.conf import settings

from core_app.timeouts import Deadline
from edge_app.http.asgi import Send

MAX_ANSWERS = 32


class Outbox:
    """Text frames on their way out; belongs to the loop. Its task lives only while there is something to write.

    `failed` is told what ended the writing: TimeoutError when one frame was not taken within
    GATEWAY_SLOW_FOLLOWER_SECONDS, or what the server raised. Nothing is written after that.
    """

    __slots__ = ("_answers", "_failed", "_frames", "_send", "_writer")

    def __init__(self, send: Send, failed: Callable[[Exception], None]) -> None:
        self._send = send
        self._failed = failed
        self._frames: list[str] = []
        self._answers = 0
        self._writer: asyncio.Task[None] | None = None

    def put_events(self, frames: Iterable[str]) -> None:
        """Puts events in."""
        self._frames.extend(frames)
        self._begin()

    def put_answer(self, frame: str) -> None:
        """Puts an answer in."""
        self._frames.append(frame)
        self._answers += 1
        self._begin()

    @property
    def crowded(self) -> bool:
        """Whether the client sends more than it reads the answers of."""
        return self._answers >= MAX_ANSWERS

    async def emptied(self) -> None:
        """Until everything has been handed to the server, or nothing will be any more."""
        if self._writer is not None:
            await asyncio.wait([self._writer])

    def cancel(self) -> None:
        """Ends the writing where it is."""
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
            self._answers, self._writer = 0, None
