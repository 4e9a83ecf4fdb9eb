"""The open sockets of this process, counted so that a stop can wait until each client was told to reconnect.

uvicorn closes sockets that are still open after the drain with 1012, a code that no face documents.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from core_app.lifecycle import Part, process_wide

CLOSE_SECONDS = 5.0
"""Time-out of a drain for the last replies; the hub has ended the followers by then."""


class OpenSockets(Part):
    """The count of open sockets; drained after the hub."""

    def __init__(self) -> None:
        self._count = 0
        self._none_left: asyncio.Event | None = None

    @property
    def count(self) -> int:
        """Number of open sockets."""
        return self._count

    @contextmanager
    def track(self) -> Iterator[None]:
        """Counts a socket while it is open."""
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            if self._count == 0 and self._none_left is not None:
                self._none_left.set()

    async def wait_closed(self) -> None:
        """Waits until no socket is open."""
        while self._count:
            self._none_left = asyncio.Event()
            await self._none_left.wait()

    async def drain(self) -> None:
        """Waits until every socket is closed, at most CLOSE_SECONDS."""
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self.wait_closed()


SOCKETS = process_wide(OpenSockets())
