"""A stream as the response of an exchange (`edge_app.http.exchange`), for endpoints that are no consumers."""

from __future__ import annotations

from typing import TypeVar

from edge_app.http.exchange import Exchange
from edge_app.sse.consumer import OpenStream, stream_chunks
from edge_app.sse.writer import write_stream
from events_app.follower import Follower
from events_app.hub import HUB

D = TypeVar("D")


async def send_stream(exchange: Exchange[D], opened: OpenStream, required_scope: str, *, status: int = 200) -> None:
    """Sends the events of a stream until its end or the client's. The caller counts it (`FOLLOWERS.track`), before it
    starts what the stream is of."""
    generations = opened.here.generations
    async with Follower(opened.stream_id, after=opened.start, generations=generations, hub=HUB) as follower:
        exchange.started = True
        chunks = stream_chunks(follower, opened, exchange.principal, required_scope)
        await write_stream(exchange.receive, exchange.send, follower, chunks, exchange.headers, status=status)
