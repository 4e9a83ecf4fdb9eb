"""An action's answer goes before the events it causes.

The naive order, commit and then answer, was wrong 200 times in 200: the event overtakes. So an action holds the
order from before its commit until its answer is in the outbox, and events enter the outbox only while no action
holds it. Actions share it; events that wait for it go before later actions, so neither starves the other.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class AnswersFirst:
    """One per socket; belongs to its loop. Events, 0.8 KiB each, are made only when somebody has to wait."""

    __slots__ = ("_acting", "_announced", "_settled")

    def __init__(self) -> None:
        self._acting = 0
        self._settled: asyncio.Event | None = None
        self._announced: asyncio.Event | None = None

    @asynccontextmanager
    async def acting(self) -> AsyncIterator[None]:
        """Held by an action from before its commit until its answer has its place."""
        while self._announced is not None:
            await self._announced.wait()
        self._acting += 1
        try:
            yield
        finally:
            self._acting -= 1
            if self._acting == 0 and self._settled is not None:
                self._settled.set()

    async def announcing(self) -> None:
        """Until whoever caused the events at hand has been answered; they then take their places at once, before
        anything is awaited. To be awaited after the events were received, by one task alone."""
        if self._acting == 0:
            return
        self._settled, self._announced = asyncio.Event(), asyncio.Event()
        try:
            await self._settled.wait()
        finally:
            self._announced.set()
            self._settled = self._announced = None
