"""The Codelab face as one value."""

from __future__ import annotations

from edge_app.face import Face, Route
from edge_app.rest.routers import GatewayRouter
from events_app.signals import SIGNALS
from faces.codelab.clients import CLIENTS, CONNECTED
from faces.codelab.credentials import codelab_principal
from faces.codelab.errors import codelab_error_body
from faces.codelab.execute import ExecuteEndpoint
from faces.codelab.socket import CodelabSocket
from faces.codelab.views import CodelabAgentViewSet, CodelabEventViewSet, CodelabSessionViewSet

ROUTER = GatewayRouter()
ROUTER.register("api/v1/agents", CodelabAgentViewSet, "codelab-agent")
ROUTER.register("api/v1/sessions", CodelabSessionViewSet, "codelab-session")
ROUTER.register("api/v1/events", CodelabEventViewSet, "codelab-event")

FACE = Face(
    name="codelab",
    consumers=(
        Route(path="ws/<str:session_id>", application=CodelabSocket.as_asgi(), protocol="websocket"),
        Route(path="api/v1/ws/<str:session_id>", application=CodelabSocket.as_asgi(), protocol="websocket"),
        Route(path="tool/execute/<str:session_id>", application=ExecuteEndpoint(), key="none"),
    ),
    urls=ROUTER.urls,
    error_body=codelab_error_body,
    token_principal=codelab_principal,
    parts=(CONNECTED, SIGNALS, CLIENTS),
    openapi="faces.codelab.openapi.DOCUMENT",
)
