"""The open sockets of this process, so that a stop can wait until each has been told to reconnect.

uvicorn closes what is still open after the drain with 1012, which no client of ours is told how to read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from core_app.lifecycle import Part, process_wide

CLOSE_SECONDS = 5.0
"""How long a drain waits for the sockets' last answers; the hub has ended their followers by then."""


class OpenSockets(Part):
    """A `core_app.lifecycle.Part`; to be drained after the hub."""

    def __init__(self) -> None:
        self._count = 0
        self._none_left: asyncio.Event | None = None

    @property
    def count(self) -> int:
        """How many are open."""
        return self._count

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Counts a socket while it is open."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            if self._count == 0 and self._none_left is not None:
                self._none_left.set()

    async def emptied(self) -> None:
        """Until no socket is open."""
        while self._count:
            self._none_left = asyncio.Event()
            await self._none_left.wait()

    async def drain(self) -> None:
        """Until every socket is closed, within CLOSE_SECONDS."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.emptied()


SOCKETS = process_wide(OpenSockets())
