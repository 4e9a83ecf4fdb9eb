"""The sockets that are connected to a session, over all processes, and news of who comes and goes.

A tool call goes to the newest socket. Who is connected is asked of the presence; a signal says when to ask again, and
because signals may be lost, whoever waits asks from time to time anyway.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from core_app.lifecycle import Part, process_wide
from events_app.presence import Presence
from events_app.signals import SIGNALS

TOPIC = "codelab"
REFRESH_SECONDS = 10.0

STALE_SECONDS = 30.0
"""After this time the sockets of a killed process count as gone, and its tool calls go to another socket."""

RECHECK_SECONDS = 1.0
"""Pause between two looks while somebody waits for a change."""

Listener = Callable[[], None]

CONNECTED = process_wide(Presence("codelab", refresh_seconds=REFRESH_SECONDS, stale_seconds=STALE_SECONDS))
"""Process-wide instance, started by `Gateway`. Its places are streams."""


class Clients(Part):
    """The sockets of this process, and the view of all. Belongs to the loop."""

    def __init__(self) -> None:
        self._listeners: dict[int, list[Listener]] = {}

    async def start(self) -> None:
        """Begins to listen to other processes."""
        SIGNALS.subscribe(TOPIC, self._receive)

    async def stop(self) -> None:
        """Listens no longer."""
        SIGNALS.unsubscribe(TOPIC, self._receive)

    @asynccontextmanager
    async def connected(self, stream_id: int, name: str) -> AsyncIterator[None]:
        """Counts a socket that can run tools."""
        await CONNECTED.enter(stream_id, name, {"name": name, "since": time.time()})
        try:
            self._announce(stream_id)
            yield
        finally:
            await CONNECTED.leave(stream_id, name)
            self._announce(stream_id)

    async def newest(self, stream_id: int) -> str | None:
        """Returns the name of the newest socket; None when nobody is connected."""
        members = await CONNECTED.members(stream_id)
        found = max(members, key=lambda member: (member["since"], member["name"]), default=None)
        return None if found is None else str(found["name"])

    async def wait_connected(self, stream_id: int, seconds: float) -> bool:
        """Waits until a socket is connected; False when none came in this time."""
        changed = asyncio.Event()
        deadline = asyncio.get_running_loop().time() + seconds
        self.listen(stream_id, changed.set)
        try:
            while True:
                changed.clear()
                if await self.newest(stream_id) is not None:
                    return True
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    return False
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, RECHECK_SECONDS)):
                        await changed.wait()
        finally:
            self.unlisten(stream_id, changed.set)

    def listen(self, stream_id: int, listener: Listener) -> None:
        """Calls `listener` whenever a socket of the session comes or goes."""
        self._listeners.setdefault(stream_id, []).append(listener)

    def unlisten(self, stream_id: int, listener: Listener) -> None:
        """Ends that."""
        listeners = self._listeners.get(stream_id, [])
        if listener in listeners:
            listeners.remove(listener)
        if not listeners:
            self._listeners.pop(stream_id, None)

    def _announce(self, stream_id: int) -> None:
        SIGNALS.send(TOPIC, {"stream": stream_id})

    def _receive(self, signal: Mapping[str, Any]) -> None:
        for listener in list(self._listeners.get(signal["stream"], ())):
            listener()


CLIENTS = process_wide(Clients())
"""Process-wide instance, started by `Gateway`."""
