"""POST /v1/sessions/:id/tools/:name/test: calls a tool once, without a model.

Bare ASGI, because a tool may take ten minutes: a request thread held that long would be missing for other tenants.
Test calls count as open streams of the tenant, which bounds their number.
"""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from core_app import database
from core_app.errors import MethodNotAllowed
from core_app.shares import Claim
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import ClientGone, Receive, Scope, Send
from edge_app.http.body import read_json
from edge_app.http.log_context import bind_path_ids
from edge_app.http.response import send_error, send_json
from edge_app.rest.errors import as_gateway_error
from edge_app.rest.fields import JSONObject
from sessions_app.services.tools import tool_test_context
from tenants_app.principal import SESSIONS, Principal
from tools_app.schema import MAX_ARGS_BYTES
from tools_app.tool_test import tool_test


class ToolTestSerializer(serializers.Serializer[Any]):
    """`args` of the call; none by default."""

    args = JSONObject(required=False, max_bytes=MAX_ARGS_BYTES, default=dict, help_text="The arguments of the call.")

    class Meta:
        ref_name = "Trial"
        """The component's name in the OpenAPI document."""


class ToolTestEndpoint:
    """The ASGI application. The gate has put the principal into the scope and counts the body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bind_path_ids(scope)
        try:
            result = await _call_tool(scope, receive)
        except ClientGone:
            raise
        except Exception as error:  # every failure becomes an error response
            await send_error(send, as_gateway_error(error))
        else:
            await send_json(send, 200, result)


async def _call_tool(scope: Scope, receive: Receive) -> dict[str, Any]:
    principal: Principal = scope["gateway.principal"]
    principal.require(SESSIONS)
    if scope["method"] != "POST":
        raise MethodNotAllowed("A tool is tried with POST.", allow="POST")
    path = scope["url_route"]["kwargs"]
    public_id = path["session_id"]
    claim = Claim(principal.tenant_id, public_id)
    stream_id, context = await database.run_action(claim, tool_test_context, principal=principal, public_id=public_id)
    serializer = ToolTestSerializer(data=await read_json(scope, receive))
    serializer.is_valid(raise_exception=True)
    with FOLLOWERS.track(principal):
        return await tool_test(
            stream_id=stream_id,
            name=path["name"],
            args=serializer.validated_data["args"],
            context=context,
            by=principal,
        )
