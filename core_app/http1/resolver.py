"""Addresses of hosts, kept for a minute; requests that need the same name at once share one look-up."""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from core_app.http1.errors import NameNotResolved

DNS_SECONDS = 60.0
MAX_NAMES = 1024

Address = tuple[int, int, int, str, Any]
"""An address as `getaddrinfo` returns it."""


class Resolver:
    """The look-ups of one loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._known: OrderedDict[tuple[str, int], tuple[float, Sequence[Address]]] = OrderedDict()
        self._running: dict[tuple[str, int], asyncio.Task[Sequence[Address]]] = {}

    async def addresses(self, host: str, port: int) -> Sequence[Address]:
        """Returns the host's addresses. Raises NameNotResolved."""
        key = host, port
        known = self._known.get(key)
        if known is not None and known[0] > self._loop.time():
            return known[1]
        task = self._running.get(key)
        if task is None:
            task = self._running[key] = self._loop.create_task(self._look_up(key))
            task.add_done_callback(lambda done: self._store(key, done))
        try:
            # Shielded: a request that gives up takes the look-up from no other.
            return await asyncio.shield(task)
        except OSError as error:
            raise NameNotResolved(f"The name {host!r} has no address.") from error

    def forget(self, host: str, port: int) -> None:
        """Forgets addresses that no connection could be made to."""
        self._known.pop((host, port), None)

    async def _look_up(self, key: tuple[str, int]) -> Sequence[Address]:
        host, port = key
        return await self._loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)

    def _store(self, key: tuple[str, int], done: asyncio.Task[Sequence[Address]]) -> None:
        self._running.pop(key, None)
        if done.cancelled() or done.exception() is not None:
            return
        self._known[key] = self._loop.time() + DNS_SECONDS, done.result()
        self._known.move_to_end(key)
        if len(self._known) > MAX_NAMES:
            self._known.popitem(last=False)
