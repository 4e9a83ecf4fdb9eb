"""The Agentbus face as one value."""

from __future__ import annotations

from edge_app.face import Face, Route, SocketCodes
from edge_app.key_changes import KEY_CHANGES
from edge_app.rest.routers import GatewayRouter
from events_app.presence import PRESENCE
from events_app.signals import SIGNALS
from faces.agentbus.basic import basic_principal
from faces.agentbus.clients import CLIENTS
from faces.agentbus.endpoints import CLIENT_LIST, STATS, STATUS
from faces.agentbus.errors import agentbus_error_body
from faces.agentbus.socket import AgentbusSocket
from faces.agentbus.views import AgentbusSessionViewSet
from tenants_app.lockout import LOCKOUT

ROUTER = GatewayRouter()
ROUTER.register("api/v1/sessions", AgentbusSessionViewSet, "agentbus-session")

_SOCKET_PATHS = ("rpc", "", "ws", "ws/")

FACE = Face(
    name="agentbus",
    consumers=(
        *(
            Route(path=path, application=AgentbusSocket.as_asgi(), protocol="websocket", key="none")
            for path in _SOCKET_PATHS
        ),
        Route(path="status", application=STATUS, key="none", probe=True),
        Route(path="api/v1/clients", application=CLIENT_LIST),
        Route(path="api/v1/stats", application=STATS),
    ),
    urls=ROUTER.urls,
    error_body=agentbus_error_body,
    token_principal=basic_principal,
    close_codes=SocketCodes(),
    parts=(LOCKOUT, PRESENCE, SIGNALS, KEY_CHANGES, CLIENTS),
    openapi="faces.agentbus.openapi.DOCUMENT",
)
