"""Notices at once that a client has gone away, or that one takes nothing, and ends what is done for it by cancelling
its task.

Used around everything that happens after the request's body was read: `async with ClientWatch(receive): …`.
Raises ClientGone in place of the cancellation; a cancellation from elsewhere stays one.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

from core_app.timeouts import IdleTimer, running_loop
from edge_app.http.asgi import ClientGone, Receive


class ClientWatch:
    """Watches one connection. A client that takes nothing for `patience` seconds is taken for gone: `taking` is around
    whatever is written to it."""

    def __init__(self, receive: Receive, patience: float) -> None:
        self._receive = receive
        self._patience = patience
        self._gone = False
        self._taking: IdleTimer | None = None
        self._task: asyncio.Task[object] | None = None
        self._watcher: asyncio.Future[None] | None = None

    async def __aenter__(self) -> ClientWatch:
        loop = running_loop()
        self._task = asyncio.current_task(loop)
        # Ends with the block; awaiting its end would cost every request a turn of the loop.
        self._watcher = loop.create_task(self._watch())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        task, watcher = self._task, self._watcher
        if self._taking is not None:
            self._taking.close()
        # A cancelled task remembers its frame, and with it this watch: the circle would wait for the collector.
        self._task = self._watcher = None
        if watcher is not None:
            watcher.cancel()
        if not self._gone or task is None:
            return
        if error is None:
            await self._swallow()
        task.uncancel()
        if error is None or isinstance(error, asyncio.CancelledError):
            raise ClientGone from None

    @property
    def taking(self) -> IdleTimer:
        """To be told when something is written to the client, and when it has taken that."""
        if self._taking is None:
            self._taking = IdleTimer(self._patience, self._left)
        return self._taking

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._left()

    def _left(self) -> None:
        self._gone = True
        if self._task is not None:
            self._task.cancel()

    async def _swallow(self) -> None:
        """The cancellation that came after the last await."""
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return
