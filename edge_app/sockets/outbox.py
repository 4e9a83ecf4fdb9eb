"""The outbox: the only writer of a socket. Replies and events leave in the order in which they were put in.

A request is performed however slowly its client reads, so the outbox is bounded. Its users wait in time: a connection
takes no further events before the outbox is empty, and reads no frames beyond MAX_REPLIES waiting replies. Whoever puts
more than MAX_FRAMES in without waiting ends the socket, and so do MAX_SIGNAL_BYTES of signals, which never wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from django.conf import settings

from core_app.timeouts import Deadline
from edge_app.http.asgi import Send

MAX_REPLIES = 32

MAX_FRAMES = 1024
"""Beyond what waiting users reach: one page of events (256) with MAX_REPLIES and the replies of requests under way."""

MAX_SIGNAL_BYTES = 2 * 1024 * 1024
"""Signals have up to 64 KiB each: MAX_FRAMES of them would take 64 MiB for every socket that is not read."""

Frame = str | bytes
"""A text frame or a binary one."""


class OutboxFull(Exception):
    """The client takes frames more slowly than they are put in."""


class _Signal(str):
    """A frame that counts towards MAX_SIGNAL_BYTES until it is sent."""

    __slots__ = ()


SendNow = Callable[[str], bool]
"""Sends a text frame at once, or returns False where the client does not keep up, and sends nothing."""


class Outbox:
    """Frames on their way out; belongs to the loop. Its task exists only while there is something that `send_now` did
    not take: a task for each reply would cost more than the reply.

    `failed` is called with the exception that ended the writing: OutboxFull, TimeoutError when a frame was not taken
    within GATEWAY_SLOW_FOLLOWER_SECONDS, or the server's own. Nothing is written after that.
    """

    __slots__ = ("_failed", "_frames", "_replies", "_send", "_send_now", "_signal_bytes", "_writer")

    def __init__(self, send: Send, failed: Callable[[Exception], None], *, send_now: SendNow | None = None) -> None:
        self._send = send
        self._send_now = send_now
        self._failed = failed
        self._frames: list[Frame] = []
        self._replies = 0
        self._signal_bytes = 0
        self._writer: asyncio.Task[None] | None = None

    def put_events(self, frames: Iterable[Frame]) -> None:
        """Adds events; call `flush` before, unless there are few."""
        for frame in frames:
            if not self._sent(frame):
                self._frames.append(frame)
        self._start_writer()

    def put_signal(self, frame: str) -> None:
        """Adds an event that comes from outside of the streams that the connection follows, such as a broadcast."""
        if self._sent(frame):
            return
        self._signal_bytes += len(frame)
        self._frames.append(_Signal(frame))
        self._start_writer()

    def put_reply(self, frame: Frame) -> None:
        """Adds a reply."""
        if self._sent(frame):
            return
        self._frames.append(frame)
        self._replies += 1
        self._start_writer()

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

    def _sent(self, frame: Frame) -> bool:
        """Sends a frame at once, where nothing precedes it and the server takes it."""
        if self._send_now is None or self._writer is not None or self._frames or not isinstance(frame, str):
            return False
        return self._send_now(frame)

    def _start_writer(self) -> None:
        if self._writer is None:
            if self._frames:
                self._writer = asyncio.create_task(self._write())
        elif len(self._frames) > MAX_FRAMES or self._signal_bytes > MAX_SIGNAL_BYTES:
            self._frames.clear()
            self._writer.cancel()
            self._failed(OutboxFull())

    async def _write(self) -> None:
        try:
            while self._frames:
                frames, self._frames = self._frames, []
                for frame in frames:
                    async with Deadline(settings.GATEWAY_SLOW_FOLLOWER_SECONDS):
                        await self._send(
                            {"type": "websocket.send", "text" if isinstance(frame, str) else "bytes": frame}
                        )
                    if type(frame) is _Signal:
                        self._signal_bytes -= len(frame)
        except Exception as error:  # the owner decides what it means
            self._failed(error)
        else:
            self._replies, self._writer = 0, None
