"""Streams that resume by themselves: from their last position, over SSE or a WebSocket, whatever breaks.

The caller gets every event once and in order. What the gateway no longer has, or has lost, comes as `events_dropped`;
the stream then goes on at the position that this event carries.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from gateway_client.errors import APIError, GatewayError, RateLimited, Unauthorized, error_from_response
from gateway_client.events import Event, event_decode
from gateway_client.sse import MOST_BYTES, FrameParser
from gateway_client.transport import REPEATABLE_STATUSES, Backoff, Transport

EndsWith = Callable[[Event], bool]
SESSION_CLOSED, UNAUTHORIZED = 4500, 4501
TOO_MANY_FRAMES = 1008
FINAL_CODES = range(4500, 5000)


class _SocketFrame(msgspec.Struct):
    """An event on the WebSocket. Replies to actions have no `event`, and the client sends none."""

    event: str
    data: dict[str, Any]
    id: int | str


async def sse_follow(
    transport: Transport, path: str, query: dict[str, str], after: str | None, ends_with: EndsWith
) -> AsyncGenerator[Event, None]:
    """Yields the events of an SSE stream, up to the one that `ends_with` accepts, or until the gateway says that no
    event will follow. Raises APIError for a refusal, ConnectionFailed when no attempt succeeds in time."""
    position = after
    backoff = Backoff(transport.timeouts, transport.timeouts.resume)
    while True:
        failure: Exception | None = None
        headers = {} if position is None else {"Last-Event-ID": position}
        try:
            async with transport.stream(path, query, headers) as pieces:
                if pieces is None:
                    return
                parser = FrameParser()
                async for piece in pieces:
                    for frame in parser.feed(piece):
                        position = frame.id or position
                        backoff.reset()
                        if frame.data is None:
                            continue
                        event = event_decode(frame.type, frame.data, position or "0")
                        yield event
                        if ends_with(event):
                            return
        except transport.transport_error as error:
            failure = error
        except APIError as error:
            if error.status not in REPEATABLE_STATUSES:
                raise
            failure = error
        await backoff.wait(failure, failure.retry_after if isinstance(failure, APIError) else None)


async def socket_follow(
    transport: Transport, session_id: str, after: str, ends_with: EndsWith
) -> AsyncGenerator[Event, None]:
    """Yields the events of a session after `after` from its WebSocket; otherwise as `sse_follow`."""
    position = after
    backoff = Backoff(transport.timeouts, transport.timeouts.resume)
    while True:
        failure: Exception | None = None
        try:
            async with connect(
                _socket_address(transport.base_url, session_id, position),
                additional_headers=transport.headers,
                open_timeout=transport.timeouts.connect,
                ping_timeout=transport.timeouts.idle,
                close_timeout=1,
                max_size=MOST_BYTES,
                compression=None,
            ) as socket:
                async for text in socket:
                    frame = msgspec.json.decode(text, type=_SocketFrame)
                    position = str(frame.id)
                    backoff.reset()
                    event = event_decode(frame.event, frame.data, position)
                    yield event
                    if ends_with(event):
                        return
        except InvalidStatus as error:
            failure = _refusal(error)
        except ConnectionClosed as error:
            code = error.rcvd.code if error.rcvd else None
            if code == SESSION_CLOSED:
                return
            failure = _closed(code, error)
        except (OSError, TimeoutError, InvalidHandshake) as error:
            failure = error
        await backoff.wait(failure, failure.retry_after if isinstance(failure, APIError) else None)


def session_path(session_id: str, *rest: str) -> str:
    """Returns the path of a session, or of something in it."""
    return "/v1/sessions/" + "/".join(quote(part, safe="") for part in (session_id, *rest))


def _socket_address(base_url: str, session_id: str, position: str) -> str:
    return "ws" + base_url.removeprefix("http") + session_path(session_id, "ws") + "?" + urlencode({"since": position})


def _refusal(error: InvalidStatus) -> APIError:
    response = error.response
    try:
        body = msgspec.json.decode(response.body or b"")
    except msgspec.DecodeError:
        body = None
    retry_after = response.headers.get("Retry-After", "")
    seconds = float(retry_after) if retry_after.isdigit() else None
    refusal = error_from_response(response.status_code, body, seconds)
    if refusal.status not in REPEATABLE_STATUSES:
        raise refusal from error
    return refusal


def _closed(code: int | None, error: ConnectionClosed) -> Exception:
    if code == UNAUTHORIZED:
        raise Unauthorized("The API key was revoked or has expired.", status=401) from error
    if code == TOO_MANY_FRAMES:
        return RateLimited("The socket had too many frames per minute.", status=429)
    if code in FINAL_CODES:
        raise GatewayError(f"The gateway closed the socket for good (code {code}).") from error
    return error
