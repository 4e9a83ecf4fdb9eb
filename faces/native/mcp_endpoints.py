"""Endpoints about MCP servers that wait for others: the test of a server, and the two halves of an authorization.

Bare ASGI, because a request thread that waits for a foreign server would be missing for other tenants. The address
where browsers come back needs no key: its `state` is a credential of 256 bits that is good once, for ten minutes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from typing import Any

from core_app.errors import BadRequest, MethodNotAllowed
from edge_app.followers import FOLLOWERS
from edge_app.http.asgi import ClientGone, Headers, Receive, Scope, Send
from edge_app.http.query import query_of
from edge_app.http.response import error_header_pairs, send_error, send_json, send_response
from edge_app.rest.errors import as_gateway_error
from tenants_app.principal import ADMIN, Principal
from tools_app.mcp.connecting import authorization_complete, authorization_refuse

MAX_PARAMETER_CHARACTERS = 4_000

_PAGE = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>%s</title><body style='font:16px sans-serif;margin:3em'>"
    b"<h1>%s</h1><p>%s</p></body></html>"
)
_PAGE_HEADERS = [
    (b"content-type", b"text/html; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
]

Work = Callable[[Principal, str], Awaitable[dict[str, Any]]]


class McpServerEndpoint:
    """POST /v1/mcp-servers/:server/test and …/connect. Both count as open streams of the tenant, which bounds them."""

    def __init__(self, work: Work) -> None:
        self._work = work

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["method"] != "POST":
                raise MethodNotAllowed("This is done with POST.", allow="POST")
            principal: Principal = scope["gateway.principal"]
            principal.require(ADMIN)
            with FOLLOWERS.track(principal):
                result = await self._work(principal, scope["url_route"]["kwargs"]["server"])
        except ClientGone:
            raise
        except Exception as error:  # every failure becomes an error response
            await send_error(send, as_gateway_error(error))
        else:
            await send_json(send, 200, result)


async def authorization_callback(scope: Scope, receive: Receive, send: Send) -> None:
    """GET /v1/mcp-oauth/callback: a browser comes back from the authorization server. Answers a page."""
    headers: Headers = []
    try:
        status, title, text = await _complete(scope)
    except ClientGone:
        raise
    except Exception as error:  # every failure becomes a page
        refused = as_gateway_error(error)
        status, title, text = refused.status, "Not authorized", refused.message
        headers = error_header_pairs(refused)
    await _send_page(send, status, title, text, headers)


async def _complete(scope: Scope) -> tuple[int, str, str]:
    if scope["method"] not in ("GET", "HEAD"):
        raise MethodNotAllowed("Browsers come here with GET.", allow="GET")
    query = query_of(scope)
    if any(len(value) > MAX_PARAMETER_CHARACTERS for value in query.values()):
        raise BadRequest("The address is too long.")
    state = query.get("state", "")
    if "error" in query:
        refused = await authorization_refuse(state=state)
        return 200, "Not authorized", f"The MCP server {refused.server} was not authorized. You can close this page."
    if not query.get("code"):
        raise BadRequest("The address has no code.", field="code")
    done = await authorization_complete(state=state, code=query["code"], iss=query.get("iss"))
    return 200, "Authorized", f"The MCP server {done.server} of {done.tenant} is connected. You can close this page."


async def client_metadata(scope: Scope, receive: Receive, send: Send) -> None:
    """GET /v1/mcp-oauth/client.json: the client id metadata document."""
    from tools_app.mcp.oauth import client_document  # noqa: PLC0415  (loads the library)

    if scope["method"] not in ("GET", "HEAD"):
        await send_error(send, MethodNotAllowed("The document is read with GET.", allow="GET"))
        return
    await send_json(send, 200, client_document(), [(b"cache-control", b"max-age=300")])


async def _send_page(send: Send, status: int, title: str, text: str, headers: Headers) -> None:
    shown = [escape(part).encode() for part in (title, title, text)]
    await send_response(send, status, _PAGE % tuple(shown), [*_PAGE_HEADERS, *headers])
