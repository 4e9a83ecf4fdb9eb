"""The WebSocket of a session as a stream that resumes by itself.

A module of its own, loaded when it is used: the WebSocket library is half of the time that the package takes to import.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import urlencode

import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from gateway_client.errors import APIError, GatewayError, RateLimited, Unauthorized, error_from_response
from gateway_client.events import Event, event_decode
from gateway_client.sse import MOST_BYTES
from gateway_client.streams import EndsWith, session_path
from gateway_client.transport import REPEATABLE_STATUSES, Backoff, Transport

SESSION_CLOSED, UNAUTHORIZED = 4500, 4501
TOO_MANY_FRAMES = 1008
FINAL_CODES = range(4500, 5000)


class _SocketFrame(msgspec.Struct):
    """An event on the WebSocket. Replies to actions have no `event`, and the client sends none."""

    event: str
    data: dict[str, Any]
    id: int | str


async def socket_follow(
    transport: Transport, session_id: str, after: str, ends_with: EndsWith
) -> AsyncGenerator[Event, None]:
    """Yields the events of a session after `after` from its WebSocket; otherwise as `sse_follow`."""
    position = after
    backoff = Backoff(transport.timeouts, transport.timeouts.resume)
    while True:
        failure: Exception | None = None
        opened = time.monotonic()
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
        if time.monotonic() > opened + 2 * transport.timeouts.idle:
            backoff.reset()  # an idle socket that answered pings
        await backoff.wait(failure, failure.retry_after if isinstance(failure, APIError) else None)


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
