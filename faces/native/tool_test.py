"""POST /v1/sessions/:id/tools/:name/test: a tool tried without a model (native contract, "Tools").

Bare ASGI, because a tool may take its ten minutes: a request thread held so long would be missed by other tenants.
Trials count as the tenant's followers do, so their number is bounded too.
"""

from __future__ import annotations

from typing import Any

from django.conf import settings
from rest_framework import serializers

from core_app import database, jsontext
from core_app.errors import Conflict, MethodNotAllowed, UnsupportedMediaType
from edge_app.followers import FOLLOWERS
from edge_app.gate.body import ClientGone, header, read_body
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.rest.errors import as_gateway_error
from edge_app.rest.fields import JSONObject
from edge_app.sse.consumer import answer, path_bind, refuse
from sessions_app.legs.leg import call_context
from sessions_app.selectors import session_get
from tenants_app.principal import SESSIONS, Principal
from tools_app.schema import MAX_ARGS_BYTES
from tools_app.tool_test import tool_test
from tools_app.types import CallContext


class TrialSerializer(serializers.Serializer[Any]):
    """The body: `args`, none by default."""

    args = JSONObject(required=False, max_bytes=MAX_ARGS_BYTES, default=dict)


class ToolTrial:
    """The ASGI application; the gate has put the principal into the scope and counts the body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path_bind(scope)
        try:
            result = await _trial(scope, receive)
        except ClientGone:
            raise
        except Exception as error:  # the boundary of this wire
            await refuse(send, as_gateway_error(error))
        else:
            await answer(send, 200, result)


async def _trial(scope: Scope, receive: Receive) -> dict[str, Any]:
    principal: Principal = scope["gateway.principal"]
    principal.require(SESSIONS)
    if scope["method"] != "POST":
        raise MethodNotAllowed("A tool is tried with POST.", allow="POST")
    where = scope["url_route"]["kwargs"]
    stream_id, context = await database.run(_context, principal, where["session_id"])
    checked = TrialSerializer(data=await _body(scope, receive))
    checked.is_valid(raise_exception=True)
    with FOLLOWERS.counted(principal):
        return await tool_test(
            stream_id=stream_id, name=where["name"], args=checked.validated_data["args"], context=context
        )


def _context(principal: Principal, session_id: str) -> tuple[int, CallContext]:
    session = session_get(principal, session_id)
    if session.closed_at is not None:
        raise Conflict("The session is closed.")
    return session.stream_id, call_context(session, None)


async def _body(scope: Scope, receive: Receive) -> Any:
    media_type = (header(scope, b"content-type") or b"").partition(b";")[0].strip().lower()
    if media_type not in (b"", b"application/json"):
        raise UnsupportedMediaType("The body has to be sent as application/json.")
    raw = await read_body(receive, settings.GATEWAY_MAX_BODY_BYTES)
    return jsontext.decode_untrusted(raw) if raw.strip() else {}
