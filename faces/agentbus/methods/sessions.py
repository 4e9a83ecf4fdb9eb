"""Sessions: `sessions.list`, `sessions.get` and `sessions.delete`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_app.rpc import Method
from faces.agentbus.caller import Caller
from faces.agentbus.methods.chat import ListParameters
from faces.agentbus.parameters import SessionParameters, parser
from faces.agentbus.shapes import sessions_newest, sessions_to_wire
from sessions_app.selectors import session_get
from sessions_app.services.session import session_close
from tenants_app.principal import SESSIONS, SESSIONS_READ


def _list(caller: Caller, wanted: ListParameters) -> Mapping[str, Any]:
    return {"sessions": sessions_to_wire(sessions_newest(caller.principal, wanted.limit))}


def _get(caller: Caller, wanted: SessionParameters) -> Mapping[str, Any]:
    return {"session": sessions_to_wire([session_get(caller.principal, wanted.session_id)])[0]}


def _delete(caller: Caller, wanted: SessionParameters) -> Mapping[str, Any]:
    session_close(principal=caller.principal, public_id=wanted.session_id)
    return {"status": "deleted"}


METHODS: Mapping[str, Method[Caller]] = {
    "sessions.list": Method.on_database(
        parser(ListParameters), _list, scope=SESSIONS_READ, counted=True, shape=ListParameters
    ),
    "sessions.get": Method.on_database(
        parser(SessionParameters), _get, scope=SESSIONS_READ, counted=True, shape=SessionParameters
    ),
    "sessions.delete": Method.on_database(
        parser(SessionParameters), _delete, scope=SESSIONS, counted=True, shape=SessionParameters
    ),
}
