"""Small complete responses over bare ASGI: JSON, errors and refused upgrades.

The only module that writes `http.response.start` for a response whose body is known. Streams write their own head.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from core_app.errors import GatewayError
from core_app.jsontext import encode
from edge_app.http.asgi import Headers, Scope, Send
from edge_app.http.errors import ErrorBody, error_body, error_headers, native_error_body

JSON = (b"content-type", b"application/json")

_DENIAL = "websocket.http.response"


async def send_response(
    send: Send, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]] = (), *, head: bool = False
) -> None:
    """Sends a complete response with the length of its body; for a HEAD request (`head`) without the body."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, length]})
    await send({"type": "http.response.body", "body": b"" if head else body})


async def send_json(send: Send, status: int, value: Any, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Sends `value` as JSON."""
    await send_response(send, status, encode(value), [JSON, *headers])


async def send_empty(send: Send, status: int = 204, headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
    """Sends a response that has no body, and no header that describes one."""
    await send({"type": "http.response.start", "status": status, "headers": [*headers]})
    await send({"type": "http.response.body", "body": b""})


async def send_error(
    send: Send,
    error: GatewayError,
    body: Mapping[str, Any] | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Sends an error with the headers of its status; `body` is the error in a face's own shape, the native one by
    default."""
    value = error_body(error) if body is None else body
    await send_json(send, error.status, value, [*error_header_pairs(error), *headers])


async def deny_socket(
    scope: Scope, send: Send, error: GatewayError, render: ErrorBody = native_error_body, *, close_code: int
) -> None:
    """Refuses a WebSocket upgrade: with an HTTP response where the server can send one, else by closing."""
    if _DENIAL not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": close_code})
        return
    headers = [JSON, *error_header_pairs(error)]
    value = render(scope, error)
    await send({"type": f"{_DENIAL}.start", "status": error.status, "headers": headers})
    await send({"type": f"{_DENIAL}.body", "body": encode(value)})


def error_header_pairs(error: GatewayError) -> Headers:
    """Returns the headers that belong to an error's status (`Retry-After`, `Allow`, `WWW-Authenticate`)."""
    return [(name.lower().encode(), value.encode()) for name, value in error_headers(error).items()]
