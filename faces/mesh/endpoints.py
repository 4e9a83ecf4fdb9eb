"""Endpoints that run on the loop: POST /broadcast, GET /ws-info, GET /health."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from core_app import database, jsontext
from core_app.database import write_transaction
from core_app.errors import BadRequest, MethodNotAllowed
from core_app.shares import Claim
from edge_app.face import default_body_limit
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.http.errors import face_error_body
from edge_app.http.exchange import Endpoint, Exchange, Router
from edge_app.http.response import send_error, send_json
from edge_app.rest.errors import as_gateway_error
from faces.mesh.agents import agents_shown
from faces.mesh.errors import mesh_error_body
from faces.mesh.events import RESERVED_TYPES, Broadcast
from faces.mesh.follow import FOLLOWING
from faces.mesh.live import now_ms
from faces.mesh.stream import mesh_append, mesh_lock
from tenants_app.principal import TASKS, Principal

MAX_DATA_BYTES = 128 * 1024
_TYPE = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")
_STARTED_AT = time.time()

WS_INFO = {
    "message": "Live events are server-sent events; requests and replies go over a WebSocket.",
    "endpoints": {
        "events": "/events",
        "rpc": "/rpc",
        "description": "GET /events follows the tenant's tasks, agents and spaces; /rpc speaks the Agentbus protocol.",
    },
    "example": "new EventSource('/events?token=' + token)",
}


async def _broadcast(exchange: Exchange[None]) -> None:
    principal = exchange.principal
    body = jsontext.decode_untrusted(await exchange.read_body())
    kind = body.get("type") if isinstance(body, dict) else None
    if not isinstance(kind, str) or not _TYPE.match(kind):
        raise BadRequest("'type' has 1 to 64 of A-Z a-z 0-9 . _ : -", field="type")
    if kind in RESERVED_TYPES:
        raise BadRequest(f"'{kind}' is a type of the gateway's own events.", field="type")
    data = body.get("data")
    if len(jsontext.encode(data)) > MAX_DATA_BYTES:
        raise BadRequest(f"'data' has at most {MAX_DATA_BYTES} bytes of JSON.", field="data")
    await database.run_action(Claim(principal.tenant_id), _append, principal, Broadcast(name=kind, data=data))
    followers = len(await FOLLOWING.members(principal.tenant_id))
    await exchange.send_json(200, {"delivered": True, "client_count": followers})


def _append(principal: Principal, event: Broadcast) -> None:
    with write_transaction():
        mesh_lock(principal.tenant_id)
        mesh_append(principal.tenant_id, [event])


def _exchange(scope: Scope, receive: Receive, send: Send) -> Exchange[None]:
    return Exchange(scope, receive, send, None, default_body_limit(scope["path"]))


def _endpoints(path: str) -> Mapping[str, Endpoint[None]]:
    return {"POST": _broadcast}


BROADCAST = Router(_endpoints, scope=TASKS, open_exchange=_exchange, error_body=mesh_error_body)


@dataclass(frozen=True, slots=True)
class ReadEndpoint:
    """GET of one JSON object. `health`: with the tenant's agents for the holder of a key."""

    health: bool = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] not in ("GET", "HEAD"):
                raise MethodNotAllowed("This is read with GET.", allow="GET, HEAD")
            body = await _health(scope.get("gateway.principal")) if self.health else WS_INFO
        except Exception as error:  # the boundary of this wire: every failure becomes an error response
            refused = as_gateway_error(error)
            await send_error(send, refused, face_error_body(scope, refused))
            return
        await send_json(send, 200, body)


async def _health(principal: Principal | None) -> Mapping[str, Any]:
    """The answer of every protocol that has this path."""
    agents: list[dict[str, Any]] = []
    if principal is not None:
        agents = await database.run_action(Claim(principal.tenant_id), agents_shown, principal)
    return {
        "status": "ok",
        "timestamp": now_ms(),
        "service": "gateway",
        "name": "agent-gateway",
        "version": settings.GATEWAY_VERSION,
        "uptime": time.time() - _STARTED_AT,
        "agents": agents,
    }


HEALTH = ReadEndpoint(health=True)
WS_INFO_PAGE = ReadEndpoint()
