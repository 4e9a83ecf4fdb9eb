"""The order on a socket: the reply to a request precedes the events that the request causes.

The naive order, commit and then reply, was wrong 200 times in 200: the event overtakes the reply. So a request holds
the order from before its commit until its reply is in the outbox, and events enter the outbox only while no request
holds it. Requests share the order; waiting events precede later requests, so neither starves the other.
"""

from __future__ import annotations

import asyncio


class RepliesFirst:
    """One per socket; belongs to its loop. `asyncio.Event`s, 0.8 KiB each, are created only when a task must wait."""

    __slots__ = ("_answering", "_events_passed", "_settled")

    def __init__(self) -> None:
        self._answering = 0
        self._settled: asyncio.Event | None = None
        self._events_passed: asyncio.Event | None = None

    async def __aenter__(self) -> None:
        """Begins an answer: to be entered by a request before its commit, and left when its reply is in the outbox."""
        while self._events_passed is not None:
            await self._events_passed.wait()
        self._answering += 1

    async def __aexit__(self, *failure: object) -> None:
        self._answering -= 1
        if self._answering == 0 and self._settled is not None:
            self._settled.set()

    async def before_events(self) -> None:
        """Waits until the requests that caused the events at hand have been answered. The caller must put the events in
        the outbox before it awaits anything else. To be awaited after the events were received, by one task alone."""
        if self._answering == 0:
            return
        self._settled, self._events_passed = asyncio.Event(), asyncio.Event()
        try:
            await self._settled.wait()
        finally:
            self._events_passed.set()
            self._settled = self._events_passed = None
