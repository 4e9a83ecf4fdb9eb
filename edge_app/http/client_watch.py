"""Notices a client that has gone away, or that reads nothing, and cancels the work that is done for it.

`async with ClientWatch(receive, patience):` goes around everything that happens after the request's body was read. It
raises ClientGone in place of the cancellation; a cancellation from elsewhere stays one.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from core_app.timeouts import IdleTimer, running_loop
from edge_app.http.asgi import ClientGone, Receive


class ClientWatch:
    """Watches one connection. A client that reads nothing for `patience` seconds counts as gone; `write_timer` measures
    that around every write."""

    def __init__(self, receive: Receive, patience: float) -> None:
        self._receive = receive
        self._patience = patience
        self._gone = False
        self._write_timer: IdleTimer | None = None
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Future[None] | None = None

    async def __aenter__(self) -> ClientWatch:
        loop = running_loop()
        self._task = asyncio.current_task(loop)
        # Ends with the block; awaiting its end would cost every request an iteration of the loop.
        self._watcher = loop.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, watcher = self._task, self._watcher
        if self._write_timer is not None:
            self._write_timer.close()
        # A cancelled task holds its frame, and with it this watch: the cycle would wait for the collector.
        self._task = self._watcher = None
        if watcher is not None:
            watcher.cancel()
        if not self._gone or task is None:
            return
        if error is None:
            await self._absorb_cancellation()
        task.uncancel()
        if error is None or isinstance(error, asyncio.CancelledError):
            raise ClientGone from None

    @property
    def write_timer(self) -> IdleTimer:
        """The timer to resume before a write to the client, and to pause after it."""
        if self._write_timer is None:
            self._write_timer = IdleTimer(self._patience, self._client_left)
        return self._write_timer

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._client_left()

    def _client_left(self) -> None:
        self._gone = True
        if self._task is not None:
            self._task.cancel()

    async def _absorb_cancellation(self) -> None:
        """Takes the cancellation that came after the last await."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return
