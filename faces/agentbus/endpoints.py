"""Endpoints that answer from memory: the server's status, the connected clients and the counts."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from core_app import database
from core_app.errors import GatewayError, MethodNotAllowed
from core_app.shares import Claim
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.http.errors import face_error_body
from edge_app.http.response import send_error, send_json
from faces.agentbus.clients import CLIENTS
from faces.agentbus.methods.system import memory_bytes, server_info
from sessions_app.selectors import session_counts
from tenants_app.principal import SESSIONS, Principal


@dataclass(frozen=True, slots=True)
class JsonEndpoint:
    """GET of one JSON object, made by `render` from the caller (None where the path needs no key)."""

    render: Callable[[Principal | None], Awaitable[Mapping[str, Any]]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] not in ("GET", "HEAD"):
                raise MethodNotAllowed("This is read with GET.", allow="GET, HEAD")
            body = await self.render(scope.get("gateway.principal"))
        except GatewayError as error:
            await send_error(send, error, face_error_body(scope, error))
            return
        await send_json(send, 200, body)


async def _status(principal: Principal | None) -> Mapping[str, Any]:
    info = server_info()
    uptime = time.time() - CLIENTS.started_at
    return {
        "name": info["name"],
        "version": info["version"],
        "status": "ok",
        "timestamp": time.time(),
        "uptime": uptime,
    }


async def _clients(principal: Principal | None) -> Mapping[str, Any]:
    assert principal is not None
    principal.require(SESSIONS)
    return {"clients": await CLIENTS.members(principal.tenant_id)}


async def _stats(principal: Principal | None) -> Mapping[str, Any]:
    assert principal is not None
    principal.require(SESSIONS)
    tenant_id = principal.tenant_id
    sessions, active_runs = await database.run_action(Claim(tenant_id), session_counts, tenant_id)
    return {
        "connections": CLIENTS.open,
        "uptime": time.time() - CLIENTS.started_at,
        "memory_usage": memory_bytes(),
        "requests_total": CLIENTS.requests,
        "total_sessions": sessions,
        "active_runs": active_runs,
    }


STATUS = JsonEndpoint(_status)
CLIENT_LIST = JsonEndpoint(_clients)
STATS = JsonEndpoint(_stats)
