"""Notice of anything that happens in a tenant's sessions, for lists of all of them, which no stream of the log has.

A process looks once a second for each tenant that somebody follows here, however many follow it, with a few queries
through indexes. There is no stream of a tenant's whole activity, because each commit of each session would have to wait
for its lock. A follower is told that something changed, and reads what it shows; a look that fails is made again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from typing import Any

import structlog

from core_app import database
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from sessions_app.inbox import MOST_COUNTED
from sessions_app.models import AgentSession, Run, SessionState
from tools_app.selectors import waits_count

LOOK_SECONDS = 1.0
BUSY = (
    SessionState.WORKING,
    SessionState.WAITING_APPROVAL,
    SessionState.WAITING_INPUT,
    SessionState.WAITING_TOOL,
)
MOST_BUSY = 500
"""Busy sessions that are compared; among more, a change of an older one is noticed when its run ends."""

logger = structlog.get_logger("gateway.activity")


@dataclass(frozen=True, slots=True)
class Look:
    """The state that a look has seen. `waits` counts what waits for people, up to MOST_COUNTED; `mark` differs whenever
    something changed."""

    waits: int
    mark: tuple[Any, ...]


def activity_look(tenant_id: int) -> Look:
    """Looks at a tenant: its newest session and run, those that are busy, and what waits."""
    sessions = AgentSession.objects.filter(tenant_id=tenant_id).order_by("-pk")
    busy = sessions.filter(state__in=BUSY).values_list("pk", "state", "updated_at", "turns", "tool_calls")
    ended = Run.objects.filter(tenant_id=tenant_id, ended_at__isnull=False).order_by("-ended_at")
    waits = waits_count(tenant_id, most=MOST_COUNTED)
    newest = tuple(sessions.values_list("pk", flat=True)[:1])
    return Look(waits, (waits, newest, tuple(ended.values_list("ended_at", flat=True)[:1]), tuple(busy[:MOST_BUSY])))


@dataclass(slots=True, eq=False)
class _Followed:
    """A tenant that somebody follows here."""

    looker: asyncio.Task[None] | None = None
    look: Look | None = None
    followers: set[ActivityFollower] = field(default_factory=set)

    def wake(self) -> None:
        for follower in self.followers:
            follower.wake.set()


class ActivityFollower:
    """One client. `next` returns the newest look when it differs from the one before."""

    def __init__(self, activity: Activity, tenant_id: int, followed: _Followed) -> None:
        self.stream_id = tenant_id
        self._activity = activity
        self._followed = followed
        self._seen: Look | None = None
        self._closed = False
        self.wake = asyncio.Event()

    @property
    def ended(self) -> bool:
        """True once the client has gone or the process is about to end."""
        return self._closed or self._activity.draining

    def close(self) -> None:
        """Wakes `next` for the last time."""
        self._closed = True
        self.wake.set()

    async def next(self, seconds: float) -> Look | None:
        """Waits for a change; returns None when none came in this time, or the follower has ended."""
        try:
            async with asyncio.timeout(seconds):
                while not self.ended:
                    look = self._followed.look
                    if look is not None and look != self._seen:
                        self._seen = look
                        return look
                    self.wake.clear()
                    await self.wake.wait()
        except TimeoutError:
            pass
        return None


class Activity(Part):
    """The tenants that are followed in this process. Belongs to the loop."""

    def __init__(self) -> None:
        self._followed: dict[int, _Followed] = {}
        self.draining = False

    async def start(self) -> None:
        self.draining = False

    async def drain(self) -> None:
        """Ends all followers, so that they reconnect elsewhere."""
        self.draining = True
        for followed in self._followed.values():
            followed.wake()

    @asynccontextmanager
    async def follow(self, tenant_id: int) -> AsyncIterator[ActivityFollower]:
        """Follows a tenant while the block runs."""
        followed = self._followed.setdefault(tenant_id, _Followed())
        follower = ActivityFollower(self, tenant_id, followed)
        followed.followers.add(follower)
        if followed.looker is None:
            # In a context of its own: what it logs is not of the request that came first.
            look, name = self._look(tenant_id, followed), f"activity {tenant_id}"
            followed.looker = asyncio.create_task(look, name=name, context=Context())
        try:
            yield follower
        finally:
            followed.followers.discard(follower)
            if not followed.followers:
                followed.looker.cancel()
                del self._followed[tenant_id]

    async def _look(self, tenant_id: int, followed: _Followed) -> None:
        while True:
            try:
                look = await database.run(activity_look, tenant_id)
            except Exception as error:  # a database that is away for a moment ends no stream
                logger.warning("activity_not_read", error=error_summary(error))
            else:
                if look != followed.look:
                    followed.look = look
                    followed.wake()
            await asyncio.sleep(LOOK_SECONDS)


ACTIVITY = process_wide(Activity())
"""Process-wide instance."""
