"""The REST endpoints of the native face. Its streams and sockets are routes in front of Django."""

from __future__ import annotations

from django.urls import path

from edge_app.rest.routers import GatewayRouter
from faces.native.embed.views import EmbedSessionViewSet, EmbedTokenViewSet
from faces.native.views.callbacks import CallbackResultViewSet
from faces.native.views.decisions import RememberedApprovalViewSet
from faces.native.views.inbox import InboxViewSet
from faces.native.views.keys import KeyViewSet
from faces.native.views.mcp_servers import McpServerViewSet
from faces.native.views.runs import RunViewSet
from faces.native.views.sessions import SessionViewSet
from faces.native.views.tools import ToolViewSet
from faces.native.views.usage import UsageViewSet
from faces.native.views.webhooks import WebhookViewSet

ROUTER = GatewayRouter()
ROUTER.register("v1/sessions", SessionViewSet, "session")
ROUTER.register("v1/sessions/<str:session_id>/runs", RunViewSet, "run")
ROUTER.register("v1/sessions/<str:session_id>/tools", ToolViewSet, "tool")
ROUTER.register("v1/sessions/<str:session_id>/remembered-approvals", RememberedApprovalViewSet, "remembered-approval")
ROUTER.register("v1/webhooks", WebhookViewSet, "webhook")
ROUTER.register("v1/keys", KeyViewSet, "key")
ROUTER.register("v1/embed/sessions", EmbedSessionViewSet, "embed-session")
ROUTER.register("v1/mcp-servers", McpServerViewSet, "mcp-server")

urlpatterns = [
    *ROUTER.urls,
    path("v1/inbox", InboxViewSet.as_view({"get": "list"})),
    path("v1/embed-tokens", EmbedTokenViewSet.as_view({"post": "create"})),
    path("v1/usage", UsageViewSet.as_view({"get": "list"})),
    path("v1/callbacks/<str:token>", CallbackResultViewSet.as_view({"post": "create"})),
]
