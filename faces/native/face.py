"""The native face as one value: sessions, runs, tools and webhooks over REST, SSE and WebSocket."""

from __future__ import annotations

import re

from django.conf import settings

from edge_app.face import DjangoWrapper, Face, Route
from faces.native.activity import ActivityStream
from faces.native.callback_tokens import callback_token_check
from faces.native.embed.caller import token_principal
from faces.native.embed.events import EmbedEventStream
from faces.native.group_events import GroupEventStream
from faces.native.mcp_endpoints import McpServerEndpoint, authorization_callback, client_metadata
from faces.native.prompt_wait import PromptWait
from faces.native.session_events import SessionEventStream
from faces.native.socket.consumer import SessionSocket
from faces.native.tool_test import ToolTestEndpoint
from faces.native.urls import urlpatterns
from sessions_app.activity import ACTIVITY
from tools_app.executors.callback import RESULT_PATH
from tools_app.mcp.connecting import server_connect, server_test

SESSION_PATH = re.compile(r"/v1/sessions/([^/]+)")
PROMPT_PATH = re.compile(r"/v1/sessions/[^/]+/prompt\Z")

_SESSION = "v1/sessions/<str:session_id>"


def body_limit(path: str) -> int:
    """Returns the limit of a request's body in bytes: prompts carry their attachments in base64."""
    limit: int = settings.GATEWAY_MAX_BODY_BYTES
    return limit + settings.GATEWAY_MAX_ATTACHMENT_BYTES * 4 // 3 if PROMPT_PATH.match(path) else limit


def session_of(path: str) -> str | None:
    """Returns the id of the session that a path belongs to."""
    found = SESSION_PATH.match(path)
    return found[1] if found else None


FACE = Face(
    name="native",
    consumers=(
        Route(path=f"{_SESSION}/events", application=SessionEventStream.as_asgi()),
        Route(path="v1/embed/sessions/<str:session_id>/events", application=EmbedEventStream.as_asgi()),
        Route(path="v1/groups/<str:group_id>/events", application=GroupEventStream.as_asgi()),
        Route(path="v1/activity", application=ActivityStream.as_asgi()),
        Route(path=f"{_SESSION}/tools/<str:name>/test", application=ToolTestEndpoint()),
        Route(path=f"{_SESSION}/ws", application=SessionSocket.as_asgi(), protocol="websocket"),
        Route(path="v1/mcp-servers/<str:server>/test", application=McpServerEndpoint(server_test)),
        Route(path="v1/mcp-servers/<str:server>/connect", application=McpServerEndpoint(server_connect)),
        Route(path="v1/mcp-oauth/callback", application=authorization_callback, key="none"),
        Route(path="v1/mcp-oauth/client.json", application=client_metadata, key="none"),
    ),
    wrappers=(DjangoWrapper(path=f"{_SESSION}/prompt", wrap=PromptWait),),
    urls=urlpatterns,
    body_limit=body_limit,
    session_of=session_of,
    # The `resultUrl` of a callback ends in its credential.
    own_credential_paths={RESULT_PATH: callback_token_check},
    token_principal=token_principal,
    parts=(ACTIVITY,),
    browser_sessions=True,
    openapi="faces.native.openapi.document.DOCUMENT",
)
