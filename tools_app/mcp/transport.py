"""HTTP for the MCP library, over the guarded client: bounded in size and time, and kept from private addresses.

A failed request never raises. It becomes an answer with a JSON-RPC error that says what happened (`FailureKind`),
because an exception would end the library's transport, and with it all other calls of the connection.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Any, Literal

import httpx2

from core_app import jsontext
from core_app.errors import BadRequest
from core_app.guarded_client import CallFailed, GuardedClient, StreamedResponse, TooLarge

FailureKind = Literal["unsent", "broken", "session_lost", "status"]
"""`unsent`: the server has seen nothing of the request. `broken`: it may have. `session_lost`: it refused the request
because it does not know the session any more. `status`: it refused the request otherwise."""

FAILURE = "agentGateway"
"""The member of an error's data that holds the FailureKind."""

MAX_BODY_BYTES = 8 * 1024 * 1024
"""The largest answer and the largest event of a stream. Pictures come in base64, a third larger."""

MAX_STREAM_BYTES = 64 * 1024 * 1024
"""All bytes of a stream of notifications, after which it is closed and opened anew."""

LONG_SECONDS = 24 * 3600.0
"""Streams of notifications may be silent for this long."""

MARGIN_SECONDS = 5.0
"""An answer may take this much longer than a call: it is the call that times out."""

_CONNECTION_CLOSED = -32000
_LISTEN = "subscriptions/listen"
_OWN_HEADERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "user-agent"}
)  # the guarded client's
_BODY_HEADERS = frozenset({"content-length", "content-encoding", "transfer-encoding", "content-type"})
_MAX_SHOWN = 500


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Sends the requests of one connection. `seconds` is the time of a call, `note_status` is told each status."""

    def __init__(
        self,
        client: GuardedClient,
        *,
        owner: int | None,
        allow_private: bool,
        seconds: float,
        note_status: Callable[[int], None] = lambda status: None,
    ) -> None:
        self._client = client
        self._owner = owner
        self._allow_private = allow_private
        self._seconds = seconds
        self._note_status = note_status

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Returns the response, or one that stands for the failure."""
        stack = contextlib.AsyncExitStack()
        try:
            response = await stack.enter_async_context(self._open(request, await request.aread()))
            self._note_status(response.status)
            if response.content_type == "text/event-stream" and response.status < HTTPStatus.BAD_REQUEST:
                limit = MAX_STREAM_BYTES if _is_long(request) else MAX_BODY_BYTES
                body = _StreamBody(response, stack.pop_all(), limit)
                return httpx2.Response(response.status, headers=_headers(response), stream=body)
            return _whole_response(request, response, await _read(response))
        except CallFailed as error:
            return _failure("broken" if error.sent else "unsent", f"It {error.reason}", HTTPStatus.BAD_GATEWAY)
        finally:
            await stack.aclose()

    def _open(self, request: httpx2.Request, body: bytes) -> contextlib.AbstractAsyncContextManager[StreamedResponse]:
        long, seconds = _is_long(request), self._seconds + MARGIN_SECONDS
        return self._client.stream(
            request.method,
            str(request.url),
            headers={name: value for name, value in request.headers.items() if name.lower() not in _OWN_HEADERS},
            body=body,
            first_byte_seconds=seconds,
            idle_seconds=LONG_SECONDS if long else seconds,
            allow_private=self._allow_private,
            owner=self._owner,
        )


class _StreamBody(httpx2.AsyncByteStream):
    """The body of an event stream. It ends early at `limit` bytes, or when the connection breaks; the library then
    resumes it or gives its request up."""

    def __init__(self, response: StreamedResponse, stack: contextlib.AsyncExitStack, limit: int) -> None:
        self._response = response
        self._stack = stack
        self._left = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with contextlib.suppress(CallFailed):
            async for chunk in self._response.chunks():
                self._left -= len(chunk)
                if self._left < 0:
                    return
                yield chunk

    async def aclose(self) -> None:
        await self._stack.aclose()


async def _read(response: StreamedResponse) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in response.chunks():
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise TooLarge(f"answered with more than {MAX_BODY_BYTES} bytes.", sent=True)
        chunks.append(chunk)
    return b"".join(chunks)


def _whole_response(request: httpx2.Request, response: StreamedResponse, body: bytes) -> httpx2.Response:
    """Returns the response with its body. One without a JSON-RPC error that the library could pass on gets one."""
    headers, status = _headers(response), response.status
    if status < HTTPStatus.BAD_REQUEST or request.method != "POST":
        content_type = {"content-type": response.headers.get("content-type", "")}
        return httpx2.Response(status, headers={**headers, **content_type}, content=body)
    message = _error_message(body) if response.content_type == "application/json" else None
    if "mcp-session-id" in request.headers and _is_session_lost(status, message):
        return _failure("session_lost", "It does not know the session any more.", status, headers)
    if message is not None:
        return httpx2.Response(status, headers={**headers, "content-type": "application/json"}, content=body)
    return _failure("status", f"It answered {status_text(status)}.", status, headers)


def _is_session_lost(status: int, message: str | None) -> bool:
    """404 by the specification; many servers say 400 and name the session."""
    if status == HTTPStatus.NOT_FOUND:
        return True
    return status == HTTPStatus.BAD_REQUEST and message is not None and "session" in message.lower()


def _error_message(body: bytes) -> str | None:
    """Returns the message of a JSON-RPC error, None for any other body."""
    try:
        error = jsontext.decode_untrusted(body).get("error")
    except (BadRequest, AttributeError):
        return None
    if not isinstance(error, dict) or type(error.get("code")) is not int:
        return None
    message = error.get("message")
    return message[:_MAX_SHOWN] if isinstance(message, str) else None


def _failure(kind: FailureKind, message: str, status: int, headers: dict[str, str] | None = None) -> httpx2.Response:
    error = {"code": _CONNECTION_CLOSED, "message": message, "data": {FAILURE: kind}}
    content = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
    return httpx2.Response(status, headers={**(headers or {}), "content-type": "application/json"}, content=content)


def _headers(response: StreamedResponse) -> dict[str, str]:
    kept = {name.lower(): value for name, value in response.headers.items() if name.lower() not in _BODY_HEADERS}
    if response.content_type == "text/event-stream":
        kept["content-type"] = "text/event-stream"
    return kept


def _is_long(request: httpx2.Request) -> bool:
    """True for a stream of notifications, which ends with the connection."""
    return request.method == "GET" or request.headers.get("mcp-method") == _LISTEN


def status_text(status: int) -> str:
    """Returns a status with its phrase."""
    with contextlib.suppress(ValueError):
        return f"{status} {HTTPStatus(status).phrase}"
    return str(status)


def failure_kind(data: Any) -> FailureKind | None:
    """Returns the kind of a failure from an error's data; None for an error of the server itself."""
    kind = data.get(FAILURE) if isinstance(data, dict) else None
    return kind if kind in ("unsent", "broken", "session_lost", "status") else None
