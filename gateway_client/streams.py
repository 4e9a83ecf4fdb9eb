"""SSE streams that resume by themselves, from their last position, whatever breaks.

The caller gets every event once and in order. What the gateway no longer has, or has lost, comes as `events_dropped`;
the stream then goes on at the position that this event carries.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable
from urllib.parse import quote

from gateway_client.errors import APIError
from gateway_client.events import Event, event_decode
from gateway_client.sse import FrameParser
from gateway_client.transport import REPEATABLE_STATUSES, Backoff, Transport

EndsWith = Callable[[Event], bool]
Decode = Callable[[str, str, str], Event]
"""Makes the event of a frame from its `event`, its data and its position."""


async def sse_follow(
    transport: Transport,
    path: str,
    query: dict[str, str],
    after: str | None,
    ends_with: EndsWith,
    decode: Decode = event_decode,
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
                opened = time.monotonic()
                async for piece in pieces:
                    if time.monotonic() > opened + transport.timeouts.longest_pause:
                        backoff.reset()  # heartbeats of a stream without events
                    for frame in parser.feed(piece):
                        position = frame.id or position
                        backoff.reset()
                        if frame.data is None:
                            continue
                        event = decode(frame.type, frame.data, position or "0")
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


def session_path(session_id: str, *rest: str) -> str:
    """Returns the path of a session, or of something in it."""
    return "/v1/sessions/" + "/".join(quote(part, safe="") for part in (session_id, *rest))
