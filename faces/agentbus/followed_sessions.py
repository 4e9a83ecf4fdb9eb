"""The sessions that one connection sees: one task follows all of them, and shows their events in order.

An event enters the outbox behind the reply to the request that caused it, and only while the client's credential is
good.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Protocol

from core_app import database, jsontext
from core_app.errors import Conflict, GatewayError
from core_app.shares import Claim
from core_app.timeouts import cancel_tasks
from edge_app.http.errors import internal_error
from edge_app.sockets.close_codes import CloseCode, SocketClose
from edge_app.sockets.order import RepliesFirst
from edge_app.sockets.outbox import Outbox
from events_app.deliveries import DELIVERIES
from events_app.follower import (
    FollowerReleased,
    FollowerReset,
    FollowerSlow,
    MultiFollower,
    StreamEvents,
    TooManyStreams,
)
from events_app.positions import dropped_range
from faces.agentbus.positions import FollowFrom, sessions_to_resume
from faces.agentbus.session_view import SessionView, Shown
from tenants_app.principal import Principal


class Viewer(Protocol):
    """The connection as its sessions use it."""

    outbox: Outbox
    order: RepliesFirst

    def put_event(self, event: str, payload: str) -> None:
        """Sends an event, whose payload is JSON text."""

    def put_shown(self, shown: Iterable[Shown]) -> None:
        """Sends events of sessions."""

    async def key_is_good(self) -> bool:
        """Returns False, and ends the connection, when the credential is no longer good."""

    async def recheck(self) -> Principal:
        """Checks the credential again; raises Unauthorized."""

    def end(self, code: SocketClose | None) -> None:
        """Ends the connection."""


class FollowedSessions:
    """The sessions of one connection; used as a context manager around its life."""

    __slots__ = ("_connection", "_follower", "_resuming", "_views", "_watching")

    def __init__(self, connection: Viewer) -> None:
        self._connection = connection
        self._follower = MultiFollower()
        self._views: dict[int, SessionView] = {}
        self._watching: asyncio.Task[None] | None = None
        self._resuming: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        await self._follower.__aenter__()

    async def __aexit__(self, *failure: object) -> None:
        await cancel_tasks(*(task for task in (self._watching, self._resuming) if task is not None))
        await self._follower.__aexit__(None, None, None)

    async def follow(self, start: FollowFrom, *, conversation: bool = False, native: bool = False) -> None:
        """Shows the events of a session from a position on: as a conversation, natively, or both. A session that is
        followed already keeps its position. Raises Conflict when the connection follows too many."""
        view = self._views.get(start.stream_id)
        if view is not None:
            _switch_on(view, conversation, native)
            return
        view = self._views[start.stream_id] = SessionView(start.session_id)
        _switch_on(view, conversation, native)
        if start.dropped is not None:
            self._connection.put_shown(view.show_dropped(start.start, start.dropped))
        try:
            await self._follower.add(start.stream_id, after=start.start, generations=start.here.generations)
        except TooManyStreams as error:
            self._views.pop(start.stream_id, None)
            raise Conflict(f"A connection follows at most {error.args[0]} sessions.") from None
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), name="agentbus-sessions")

    def unfollow(self, stream_id: int) -> None:
        """Shows nothing of the session any more."""
        if self._views.pop(stream_id, None) is not None:
            self._follower.remove(stream_id)

    def resume(self, last_seen: Mapping[str, int | str]) -> None:
        """Shows what the client missed of these sessions, and what comes next; returns at once."""
        self._resuming = asyncio.create_task(self._resume(last_seen), name="agentbus-resume")

    async def _resume(self, last_seen: Mapping[str, int | str]) -> None:
        try:
            principal = await self._connection.recheck()
            claim = Claim(principal.tenant_id)
            found, gone = await database.run_action(claim, sessions_to_resume, principal, last_seen)
            for public_id, missing in gone.items():
                self._put_error(missing, session_id=public_id)
            for start in found:
                await self.follow(start, conversation=True, native=True)
        except GatewayError as error:
            self._put_error(error)
            if error.retryable:
                # Its client was told that it resumes, and would wait for events that nobody sends.
                self._connection.end(CloseCode.RESTART)
        except Exception as cause:  # the boundary of this wire: the socket ends, the log has the traceback
            internal_error(cause)
            self._connection.end(CloseCode.FAILED)

    def _put_error(self, error: GatewayError, **about: str) -> None:
        payload = jsontext.encode_text({**about, "code": error.code, "message": error.message})
        self._connection.put_event("chat.error", payload)

    async def _watch(self) -> None:
        try:
            while True:
                try:
                    found = await self._follower.next()
                except (FollowerReleased, FollowerSlow) as ended:
                    if ended.stream_id is None:
                        slow = isinstance(ended, FollowerSlow)
                        self._connection.end(CloseCode.SLOW_CONSUMER if slow else CloseCode.RESTART)
                        return
                    view = self._views.pop(ended.stream_id, None)
                    if isinstance(ended, FollowerSlow):
                        self._connection.end(CloseCode.SLOW_CONSUMER)
                        return
                    if isinstance(ended, FollowerReset):
                        # Its runs may be lost, too: the client has to look at everything anew.
                        if view is not None:
                            self._connection.put_shown(view.show_dropped(ended.after, ended.dropped))
                        self._connection.end(CloseCode.RESTART)
                        return
                    continue
                if found is not None:
                    await self._show(found)
        except Exception as cause:  # the boundary of this wire: the socket ends, the log has the traceback
            internal_error(cause)
            self._connection.end(CloseCode.FAILED)

    async def _show(self, found: StreamEvents) -> None:
        view = self._views.get(found.stream_id)
        if view is None:
            return
        shown: list[Shown] = []
        if found.missing is not None:
            first, last = found.missing
            shown.extend(view.show_dropped(last, dropped_range(first, last)))
        for event in found.events:
            shown.extend(view.show(event))
        await self._connection.outbox.flush()
        if await self._connection.key_is_good():
            if DELIVERIES.has_observed(found.events):
                await DELIVERIES.prepare(await self._connection.recheck(), found.events)
            await self._connection.order.before_events()
            self._connection.put_shown(shown)


def _switch_on(view: SessionView, conversation: bool, native: bool) -> None:
    view.conversation |= conversation
    view.native |= native
