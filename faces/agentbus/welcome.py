"""The answer to `connect`, and what is kept of the client that sent it (docs/protocol-agentbus.md, "Signing in")."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from faces.agentbus.methods.system import capabilities, server_info
from faces.agentbus.sign_in import ConnectParameters, SignedIn


def welcome(signed_in: SignedIn) -> Mapping[str, Any]:
    """Returns what `connect` is answered with."""
    return {
        "server_info": server_info(),
        "capabilities": capabilities(),
        "policy": {
            "heartbeat_interval": _shortest(settings.GATEWAY_RPC_HEARTBEAT_SECONDS),
            "connection_timeout": _shortest(settings.GATEWAY_CONNECTION_TIMEOUT),
            "max_connections": settings.GATEWAY_MAX_CONNECTIONS,
        },
        "auth_info": {
            "session_id": signed_in.token,
            "user_id": signed_in.principal.key_name,
            "method": signed_in.method,
            "scopes": sorted(signed_in.principal.scopes),
            "expires_at": signed_in.expires_at,
        },
    }


def client_about(wanted: ConnectParameters) -> Mapping[str, Any]:
    """Returns what a client says of itself, as the tenant's other clients see it."""
    return {
        "client_id": wanted.client_id,
        "client_name": wanted.client_name,
        "platform": wanted.platform,
        "version": wanted.version,
        "capabilities": sorted(set(wanted.capabilities)),
        "connected_at": time.time(),
    }


def _shortest(seconds: float) -> float:
    """Returns whole seconds as an integer: clients whose types are strict read `30` and not `30.0`."""
    return int(seconds) if seconds == int(seconds) else seconds
