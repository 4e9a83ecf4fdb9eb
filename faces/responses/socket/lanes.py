"""The lanes of a socket: requests of one lane run one after the other, lanes run beside each other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

from core_app.errors import RateLimited
from core_app.timeouts import cancel_tasks
from edge_app.http.body_budget import BODIES, BodyShare
from faces.responses.socket.frames import ClientFrame

MAX_LANES = 16
"""Lanes that have something to do at a time."""

MAX_WAITING = 64
"""Requests that wait or run on one socket."""

MAX_WAITING_BYTES = 16 * 1024 * 1024
"""Bytes of these requests."""


class Lanes:
    """The requests of one socket. `run` answers one; it does not raise. `idle` is called when the last one has been
    answered. `owner` is the tenant, in whose share of the memory for bodies the requests are. Belongs to the loop."""

    def __init__(self, owner: int, run: Callable[[ClientFrame], Awaitable[None]], idle: Callable[[], None]) -> None:
        self._owner = owner
        self._run = run
        self._idle = idle
        self._waiting: dict[str | None, deque[tuple[ClientFrame, BodyShare]]] = {}
        self._tasks: dict[str | None, asyncio.Task[None]] = {}
        self._count = self._bytes = 0

    @property
    def busy(self) -> bool:
        """True while a request waits or runs."""
        return bool(self._tasks)

    def add(self, frame: ClientFrame) -> None:
        """Takes a request; raises RateLimited where the socket has too many, and Unavailable where there is no memory
        for it."""
        lane = frame.stream_id
        if lane not in self._tasks and len(self._tasks) >= MAX_LANES:
            raise RateLimited(f"A socket has at most {MAX_LANES} streams at a time.", field="stream_id")
        if self._count >= MAX_WAITING or self._bytes + len(frame.raw) > MAX_WAITING_BYTES:
            raise RateLimited(f"A socket has at most {MAX_WAITING} requests, of {MAX_WAITING_BYTES} bytes, at a time.")
        share = BODIES.open_share(self._owner)
        share.grow_to(len(frame.raw))
        self._count, self._bytes = self._count + 1, self._bytes + len(frame.raw)
        self._waiting.setdefault(lane, deque()).append((frame, share))
        if lane not in self._tasks:
            self._tasks[lane] = asyncio.create_task(self._work(lane))

    async def close(self) -> None:
        """Ends all requests, and waits for their end."""
        await cancel_tasks(*self._tasks.values())

    async def _work(self, lane: str | None) -> None:
        waiting = self._waiting[lane]
        try:
            while waiting:
                frame, share = waiting.popleft()
                try:
                    await self._run(frame)
                finally:
                    self._forget(frame, share)
                del frame
        finally:
            for given in waiting:
                self._forget(*given)
            del self._waiting[lane], self._tasks[lane]
            if not self._tasks:
                self._idle()

    def _forget(self, frame: ClientFrame, share: BodyShare) -> None:
        share.release()
        self._count, self._bytes = self._count - 1, self._bytes - len(frame.raw)
