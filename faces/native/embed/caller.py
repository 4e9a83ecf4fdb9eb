"""Tokens of embedded chats at the gate: `X-Embed-Token` in place of a key, on the paths below /v1/embed/ alone.

The chat's frame is a page of the gateway, so requests of another origin are refused. Cookies are never looked at.
"""

from __future__ import annotations

from typing import cast

from rest_framework.request import Request

from core_app import database
from core_app.errors import Forbidden, SessionNotFound, Unauthorized
from edge_app.gate.browser import own_origin
from edge_app.http.asgi import Scope, header
from faces.native.stream_tokens import TOKEN_PRINCIPAL
from tenants_app.principal import Principal
from tenants_app.services.embed_token import EmbedCaller, embed_session_is_of, embed_token_use

PREFIX = "/v1/embed/"
HEADER = b"x-embed-token"
CALLER = "gateway.embed"
"""Set in the scope of a request that showed a token."""


async def token_principal(scope: Scope) -> Principal | None:
    """Returns the holder of an embed token, or of a stream token. Raises Unauthorized for a token that is not good,
    and on the paths of the chat also without one; Forbidden for a page that is not the gateway's."""
    if not scope["path"].startswith(PREFIX):
        return await TOKEN_PRINCIPAL(scope)
    token = (header(scope, HEADER) or b"").decode("latin-1").strip()
    if not token:
        raise Unauthorized("The chat's token is needed: send it as X-Embed-Token.")
    origin, site = header(scope, b"origin"), header(scope, b"sec-fetch-site")
    if (origin is not None and origin.lower() != own_origin(scope)) or site not in (None, b"same-origin"):
        raise Forbidden("These paths are for the chat's own frame.", field="Origin")
    caller = await database.run(embed_token_use, token)
    scope[CALLER] = caller
    return caller.principal


def caller_of(request: Request) -> EmbedCaller:
    """Returns the holder of the request's token. Raises Unauthorized for a key, which these paths do not take."""
    return caller_in(getattr(request._request, "scope", {}))


def caller_in(scope: Scope) -> EmbedCaller:
    """The same for an ASGI scope."""
    caller = scope.get(CALLER)
    if caller is None:
        raise Unauthorized("These paths take the token of an embedded chat, not a key.")
    return cast("EmbedCaller", caller)


def session_check(caller: EmbedCaller, session_id: str) -> None:
    """Raises SessionNotFound for a session that was not made for the caller's end user and agent."""
    if not embed_session_is_of(session_id, caller.binding):
        raise SessionNotFound("There is no such session.")
