"""The execution of a tool by the IDE, for an agent runtime that waits for the result.

The wait is a follower of the session's stream: it holds no thread, and it makes no difference in which process the
socket is. The first answer of a call is kept with it, so a runtime may repeat its request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

from django.conf import settings

from core_app import database, jsontext
from core_app.database import database_moment
from core_app.errors import Conflict, SessionNotFound, Unavailable
from core_app.shares import Claim
from events_app.batches import StoredEvent
from events_app.follower import FollowEnded, Follower, FollowerReleased
from events_app.positions import StreamPosition
from faces.codelab.clients import CLIENTS, RECHECK_SECONDS
from sessions_app.selectors import session_get, session_position
from sessions_app.services.outside_calls import outside_call_request
from tenants_app.principal import Principal
from tools_app.events import ToolExecutionEnd
from tools_app.models import ToolCall
from tools_app.outside_calls import OutsideRequest, outside_call_end, outside_call_find
from tools_app.result_body import as_text
from tools_app.states import CallState, CallStatus


class Reply(NamedTuple):
    """The status and the body of a response."""

    status: int
    body: Mapping[str, Any]


class _Place(NamedTuple):
    """The stream of a session, its position, and the call of the request if it is known there."""

    stream_id: int
    here: StreamPosition
    call: ToolCall | None
    seconds: float


async def execute(principal: Principal, session_id: str, request: OutsideRequest) -> Reply:
    """Requests the call from the session's client and returns its outcome. Raises Unavailable when the process ends."""
    claim = Claim(principal.tenant_id, session_id)
    nobody = f"No client is connected to session {session_id}"
    try:
        place = await database.run_action(claim, _find, principal, session_id, request.call_id)
        if place.call is None:
            if not await CLIENTS.wait_connected(place.stream_id, settings.GATEWAY_RECONNECT_GRACE):
                return _failure(409, nobody)
            requested = await database.run_action(claim, _request, principal, session_id, request)
            place = place._replace(call=requested, seconds=request.seconds)
    except SessionNotFound:
        return _failure(404, f"Session {session_id} not found")
    except Conflict as error:
        return _failure(409, error.message)
    call = await _Wait(place, nobody).result()
    return _reply(call, request.call_id)


def _find(principal: Principal, session_id: str, call_id: str) -> _Place:
    session = session_get(principal, session_id)
    here = session_position(session)
    call = outside_call_find(session.stream_id, call_id)
    seconds = 0.0
    if call is not None and call.expires_at is not None:
        seconds = (call.expires_at - database_moment()).total_seconds()
    return _Place(session.stream_id, here, call, seconds)


def _request(principal: Principal, session_id: str, request: OutsideRequest) -> ToolCall:
    return outside_call_request(principal=principal, public_id=session_id, request=request)


class _Wait:
    """The wait for the end of one call: its result, its time, or a client that does not come back."""

    def __init__(self, place: _Place, nobody: str) -> None:
        assert place.call is not None
        self._place = place
        self._call = place.call
        self._nobody = nobody
        self._clock = asyncio.get_running_loop().time
        self._deadline = self._clock() + place.seconds
        self._looked_at = 0.0

    async def result(self) -> ToolCall:
        """Returns the settled call."""
        while self._call.state != CallState.SETTLED:
            try:
                return await self._follow()
            except FollowerReleased:
                raise Unavailable("The process ends; repeat the request.", retry_after=1) from None
            except FollowEnded:
                self._call = await database.run(_read, self._call.pk)
        return self._call

    async def _follow(self) -> ToolCall:
        place = self._place
        async with Follower(place.stream_id, after=place.here.newest, generations=place.here.generations) as follower:
            while True:
                left = self._deadline - self._clock()
                if left <= 0:
                    return await self._end(CallStatus.TIMEOUT, "The client did not run the tool in time.")
                if await self._is_abandoned():
                    return await self._end(CallStatus.UNKNOWN, self._nobody)
                events = await follower.next(min(left, RECHECK_SECONDS))
                if any(self._is_end(event) for event in events):
                    return await database.run(_read, self._call.pk)

    async def _is_abandoned(self) -> bool:
        """Returns True when nobody is connected any more, and nobody has come back within the grace."""
        if self._clock() - self._looked_at < RECHECK_SECONDS:
            return False
        connected = await CLIENTS.newest(self._place.stream_id) is not None
        if not connected:
            left = max(0.0, self._deadline - self._clock())
            grace = min(settings.GATEWAY_RECONNECT_GRACE, left)
            connected = await CLIENTS.wait_connected(self._place.stream_id, grace)
            if not connected and self._deadline <= self._clock():
                return False
        self._looked_at = self._clock()
        return not connected

    def _is_end(self, event: StoredEvent) -> bool:
        return event.type == ToolExecutionEnd.type and jsontext.decode(event.data)["callId"] == self._call.pk

    async def _end(self, status: CallStatus, reason: str) -> ToolCall:
        return await database.run(_end, self._call, status.value, reason)


def _read(call_id: str) -> ToolCall:
    return ToolCall.objects.get(pk=call_id)


def _end(call: ToolCall, status: Any, reason: str) -> ToolCall:
    return outside_call_end(call=call, status=status, reason=reason)


def _reply(call: ToolCall, given: str) -> Reply:
    """Returns the answer that a settled call has for ever."""
    result = call.result or ""
    if call.status == CallStatus.OK:
        return Reply(200, {"status": "ok", "result": jsontext.decode(result)})
    if call.status == CallStatus.ERROR:
        error = jsontext.decode(result)
        return Reply(200, {"status": "error", "detail": as_text(error), "error": error})
    if call.status == CallStatus.TIMEOUT:
        return _failure(504, f"Timeout waiting for tool_result (call_id={given})")
    return _failure(409, result)


def _failure(status: int, detail: str) -> Reply:
    return Reply(status, {"status": "error", "detail": detail})
