"""Changes of keys, users, devices and tenants, told to all processes at once.

A process learns of a change of its own at its commit, and tells the others by a signal. Each of them forgets the keys
and issuers that it has looked up and asks its open connections to check theirs. A signal may be lost: then a revoked
key ends within GATEWAY_KEY_CACHE_SECONDS and a connection at its next request, event or heartbeat, as without signals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from core_app.lifecycle import Part, process_wide
from core_app.timeouts import cancel_tasks
from events_app.signals import SIGNALS
from tenants_app.services.key_cache_invalidate import KEY_LISTENERS, caches_clear

TOPIC = "keys"

Recheck = Callable[[], Awaitable[None]]
"""Checks the credential of a connection, and ends it where that is no longer good; it does not raise."""


class KeyChanges(Part):
    """The connections of this process that are checked after a change. All but the listener belongs to the loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._rechecks: dict[object, Recheck] = {}
        self._changed = False
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listens for changes, here and elsewhere."""
        self._loop = asyncio.get_running_loop()
        KEY_LISTENERS.add(self._tell)
        SIGNALS.subscribe(TOPIC, self._receive)

    async def stop(self) -> None:
        """Listens no more."""
        KEY_LISTENERS.remove(self._tell)
        SIGNALS.unsubscribe(TOPIC, self._receive)
        task, self._task, self._loop = self._task, None, None
        if task is not None:
            await cancel_tasks(task)

    def watch(self, connection: object, recheck: Recheck) -> None:
        """Calls `recheck` after each change, until `unwatch`."""
        self._rechecks[connection] = recheck

    def unwatch(self, connection: object) -> None:
        """Ends the calls."""
        self._rechecks.pop(connection, None)

    def _tell(self) -> None:
        """Runs in the thread of the change."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(SIGNALS.send, TOPIC, {})

    def _receive(self, signal: Mapping[str, Any]) -> None:
        caches_clear()
        self._changed = True
        if self._task is None and self._rechecks:
            self._task = asyncio.create_task(self._recheck_all(), name="key-changes")

    async def _recheck_all(self) -> None:
        """Checks all connections at the same time, because those of one key share its look-up; and again where there
        was another change meanwhile."""
        try:
            while self._changed:
                self._changed = False
                await asyncio.gather(*(recheck() for recheck in list(self._rechecks.values())))
        finally:
            self._task = None


KEY_CHANGES = process_wide(KeyChanges())
"""Process-wide instance; a face whose connections it checks lists it, and SIGNALS, among its parts."""
