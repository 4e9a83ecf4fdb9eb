"""Events: `events.follow`, `events.unfollow`, `events.broadcast`, and `presence.list`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from core_app import database
from core_app.errors import BadRequest
from core_app.jsontext import encode
from core_app.shares import Claim
from edge_app.rpc import Method
from faces.agentbus.caller import Caller
from faces.agentbus.clients import CLIENTS
from faces.agentbus.parameters import NoParameters, Parameters, SessionParameters, parser
from faces.agentbus.positions import FollowFrom, follow_from
from sessions_app.selectors import session_get
from tenants_app.principal import ADMIN, SESSIONS_READ, Principal

MAX_PAYLOAD = 64 * 1024
OWN_EVENTS = ("connect.", "chat.", "session.", "presence.")
OWN_NAMES = frozenset({"heartbeat", "disconnect", "shutdown"})
"""Events that only the server sends."""

_EVENT_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,64}\Z")


class FollowParameters(Parameters):
    """The parameters of `events.follow`. `since` is the `id` of the last `session.event` that the client has."""

    session_id: str
    since: int | str | None = None


class BroadcastParameters(Parameters):
    """The parameters of `events.broadcast`."""

    event: str
    payload: dict[str, Any] = {}
    capability: str | None = None


async def _follow(caller: Caller, wanted: FollowParameters) -> Mapping[str, Any]:
    claim = Claim(caller.principal.tenant_id, wanted.session_id)
    start = await database.run_action(claim, _start, caller.principal, wanted)
    await caller.connection.sessions.follow(start, native=True)
    return {"session_id": start.session_id, "status": "following"}


def _start(principal: Principal, wanted: FollowParameters) -> FollowFrom:
    return follow_from(session_get(principal, wanted.session_id), wanted.since)


async def _unfollow(caller: Caller, wanted: SessionParameters) -> Mapping[str, Any]:
    claim = Claim(caller.principal.tenant_id, wanted.session_id)
    stream_id = await database.run_action(claim, _stream_of, caller.principal, wanted.session_id)
    caller.connection.sessions.unfollow(stream_id)
    return {"session_id": wanted.session_id, "status": "unfollowed"}


def _stream_of(principal: Principal, session_id: str) -> int:
    return session_get(principal, session_id).stream_id


async def _broadcast(caller: Caller, wanted: BroadcastParameters) -> Mapping[str, Any]:
    if not _EVENT_NAME.match(wanted.event):
        raise BadRequest("'event' has 1 to 64 letters, digits, '.', ':', '_' and '-'.", field="event")
    if wanted.event in OWN_NAMES or wanted.event.startswith(OWN_EVENTS):
        raise BadRequest(f"{wanted.event!r} is an event of the gateway itself.", field="event")
    if len(encode(wanted.payload)) > MAX_PAYLOAD:
        raise BadRequest(f"'payload' has at most {MAX_PAYLOAD} bytes.", field="payload")
    CLIENTS.broadcast(
        caller.principal.tenant_id, event=wanted.event, payload=wanted.payload, capability=wanted.capability
    )
    return {"status": "sent"}


async def _presence(caller: Caller, wanted: NoParameters) -> Mapping[str, Any]:
    caller.connection.watches_presence = True
    return {"clients": await CLIENTS.members(caller.principal.tenant_id)}


METHODS: Mapping[str, Method[Caller]] = {
    "events.follow": Method.on_loop(
        parser(FollowParameters), _follow, scope=SESSIONS_READ, counted=True, shape=FollowParameters
    ),
    "events.unfollow": Method.on_loop(
        parser(SessionParameters), _unfollow, scope=SESSIONS_READ, shape=SessionParameters
    ),
    "events.broadcast": Method.on_loop(
        parser(BroadcastParameters), _broadcast, scope=ADMIN, counted=True, shape=BroadcastParameters
    ),
    "presence.list": Method.on_loop(parser(NoParameters), _presence, counted=True, shape=NoParameters),
}
