"""The server: `system.info` and `system.status`."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings

from core_app import database
from core_app.shares import Claim
from edge_app.rpc import Method
from faces.agentbus.caller import Caller
from faces.agentbus.clients import CLIENTS
from faces.agentbus.parameters import NoParameters, parser
from sessions_app.selectors import session_counts

PROTOCOL_VERSION = "1.0"
NAME = "agent-gateway"

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def server_info() -> dict[str, Any]:
    """Returns the name and the versions of the server."""
    return {"name": NAME, "version": settings.GATEWAY_VERSION, "protocol_version": PROTOCOL_VERSION}


def memory_bytes() -> int | None:
    """Returns the resident memory of this process; None where the system does not tell."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES
    except (OSError, ValueError, IndexError):
        return None


def capabilities() -> list[str]:
    """Returns what clients of this server may use."""
    return ["chat", "sessions", "devices", "events", "presence", "approvals", "questions"]


def _info(caller: Caller, wanted: NoParameters) -> Mapping[str, Any]:
    return {**server_info(), "capabilities": capabilities()}


async def _status(caller: Caller, wanted: NoParameters) -> Mapping[str, Any]:
    """Counts the caller's tenant; without `connect` only the process is shown."""
    sessions, active_runs = None, None
    if caller.signed_in is not None:
        tenant_id = caller.signed_in.tenant_id
        sessions, active_runs = await database.run_action(Claim(tenant_id), session_counts, tenant_id)
    return {
        "status": "ok",
        "uptime": time.time() - CLIENTS.started_at,
        "connections": CLIENTS.open,
        "memory_usage": memory_bytes(),
        "sessions": sessions,
        "active_runs": active_runs,
    }


METHODS: Mapping[str, Method[Caller]] = {
    "system.info": Method.at_once(parser(NoParameters), _info, shape=NoParameters),
    "system.status": Method.on_loop(parser(NoParameters), _status, shape=NoParameters),
}
