"""POST /tool/execute/:session_id: an agent runtime has the session's IDE run a tool.

Bare ASGI, because the answer may take five minutes: a request thread held that long would be missing for others.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from django.conf import settings

from core_app import database, jsontext
from core_app.errors import GatewayError, MethodNotAllowed, NotFound, Unauthorized, Unprocessable
from edge_app.followers import FOLLOWERS
from edge_app.gate.failed_keys import FAILED_KEYS
from edge_app.http.asgi import ClientGone, Receive, Scope, Send, header
from edge_app.http.body import read_body
from edge_app.http.client_watch import ClientWatch
from edge_app.http.errors import face_error_body
from edge_app.http.log_context import bind_path_ids
from edge_app.http.response import send_error, send_json
from edge_app.rest.errors import as_gateway_error
from faces.codelab.execution import Reply, execute
from tenants_app.internal_keys import internal_keys_exist, internal_principal
from tenants_app.principal import Principal
from tools_app.outside_calls import MAX_CALL_ID_CHARACTERS, OutsideRequest
from tools_app.schema import MAX_ARGS_BYTES

MAX_SECONDS = 300.0
MAX_NAME_CHARACTERS = 200


class ToolCallBody(msgspec.Struct, kw_only=True):
    """The body of a request. Fields that the gateway does not know are ignored."""

    call_id: str
    tool_name: str
    type: Literal["tool_call"] = "tool_call"
    arguments: dict[str, Any] = {}
    timeout_seconds: float = 30.0


class ExecuteEndpoint:
    """The ASGI application. It checks the key between services itself; the gate counts the body."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        bind_path_ids(scope)
        try:
            reply = await _answer(scope, receive)
        except ClientGone:
            raise
        except Exception as error:  # the boundary of this wire: every failure becomes an error response
            refused = as_gateway_error(error)
            await send_error(send, refused, _error_body(scope, refused))
            return
        await send_json(send, 202 if settings.GATEWAY_COMPAT_STATUS_202 else reply.status, reply.body)


async def _answer(scope: Scope, receive: Receive) -> Reply:
    if scope["method"] != "POST":
        raise MethodNotAllowed("A tool is executed with POST.", allow="POST")
    if not internal_keys_exist():
        return Reply(503, {"detail": "disabled"})
    named = str(scope["url_route"]["kwargs"]["session_id"])
    slug, dot, session_id = named.rpartition(".")
    secret = (header(scope, b"x-internal-auth") or b"").decode("latin-1")
    try:
        principal = await _authenticate(scope, secret, slug if dot else None)
    except NotFound:
        principal = None
    request = _parse(await read_body(receive, settings.GATEWAY_MAX_BODY_BYTES))
    if principal is None:
        return Reply(404, {"status": "error", "detail": f"Session {named} not found"})
    with FOLLOWERS.track(principal):
        async with ClientWatch(receive, settings.GATEWAY_SLOW_CLIENT_SECONDS):
            return await execute(principal, session_id, request)


async def _authenticate(scope: Scope, secret: str, slug: str | None) -> Principal:
    async def look_up() -> Principal:
        return await database.run(internal_principal, secret, slug)

    return await FAILED_KEYS.check(scope, f"internal {secret}", look_up)


def _parse(raw: bytes) -> OutsideRequest:
    """Raises Unprocessable that names the field at fault."""
    try:
        body = msgspec.convert(jsontext.decode_untrusted(raw), ToolCallBody)
    except msgspec.ValidationError as error:
        raise Unprocessable(str(error)) from None
    except GatewayError as error:
        raise Unprocessable(error.message) from None
    if not 0 < len(body.call_id) <= MAX_CALL_ID_CHARACTERS:
        raise Unprocessable(f"call_id has 1 to {MAX_CALL_ID_CHARACTERS} characters.", field="call_id")
    if not 0 < len(body.tool_name) <= MAX_NAME_CHARACTERS:
        raise Unprocessable(f"tool_name has 1 to {MAX_NAME_CHARACTERS} characters.", field="tool_name")
    if not 0 < body.timeout_seconds <= MAX_SECONDS:
        raise Unprocessable(f"timeout_seconds is above 0 and at most {MAX_SECONDS:g}.", field="timeout_seconds")
    if len(jsontext.encode(body.arguments)) > MAX_ARGS_BYTES:
        raise Unprocessable(f"arguments have at most {MAX_ARGS_BYTES} bytes.", field="arguments")
    return OutsideRequest(
        call_id=body.call_id, tool_name=body.tool_name, arguments=body.arguments, seconds=body.timeout_seconds
    )


def _error_body(scope: Scope, error: GatewayError) -> Mapping[str, Any]:
    if isinstance(error, Unauthorized):
        return {"detail": "unauthorized"}
    return face_error_body(scope, error)
