"""The writer of a background response's events: whatever gathered during a commit is the next one.

Every commit is a transaction of the leg, so a worker that has lost its lease writes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

from agents_app.engine import Leg
from events_app import log
from events_app.types import Event
from responses_app.assembly import Json
from responses_app.events import events_join

MAX_PENDING = 2000
"""A provider that is this many events ahead of the commits waits."""


class FencedLog:
    """The events of one attempt; a response that is not streamed has no stream, and its events are dropped. `join`
    makes the events to append of those that have gathered."""

    def __init__(
        self, leg: Leg, stream_id: int | None, *, join: Callable[[Sequence[Json]], Sequence[Event]] = events_join
    ) -> None:
        self._leg = leg
        self._join = join
        self._stream_id = stream_id
        self._pending: list[Json] = []
        self._commits: asyncio.Task[None] | None = None

    async def add(self, event: Json) -> None:
        """Queues an event. Raises what the last commit raised, such as LegLost."""
        if self._stream_id is None:
            return
        self._pending.append(event)
        if self._commits is None or self._commits.done():
            await self._finish_commits()
            self._commits = asyncio.create_task(self._commit_all())
        elif len(self._pending) >= MAX_PENDING:
            await self._finish_commits()

    async def drain(self) -> None:
        """Waits until everything is committed."""
        while self._pending or self._commits is not None:
            await self._finish_commits()
            if self._pending:
                self._commits = asyncio.create_task(self._commit_all())

    async def close(self) -> None:
        """Ends the writer of a leg that was cancelled or failed."""
        commits, self._commits = self._commits, None
        self._pending.clear()
        if commits is not None:
            commits.cancel()
            await asyncio.wait([commits])

    async def _finish_commits(self) -> None:
        commits, self._commits = self._commits, None
        if commits is not None:
            await commits

    async def _commit_all(self) -> None:
        assert self._stream_id is not None
        while self._pending:
            events, self._pending = self._pending, []
            await self._leg.transact(partial(_append, self._stream_id, self._join(events)))


def _append(stream_id: int, events: Sequence[Event]) -> None:
    log.append(stream_id, events)
