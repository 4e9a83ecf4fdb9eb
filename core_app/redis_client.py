"""The client of Redis for work that many connections of clients cause at the same time.

redis-py's own pool refuses the hundred-and-first command at a time, so a few hundred sockets that end together would
have none of theirs performed. Here they wait for one of a few connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from django.utils.module_loading import import_string

if TYPE_CHECKING:
    from redis.asyncio import Redis

CONNECTIONS = 16


def redis_client(url: str, *, seconds: float) -> Redis:
    """Returns a client whose commands wait `seconds` at most, for a connection and for the response each. Closing it
    closes its connections. Redis's library is imported here: an embedded gateway never loads it."""
    pool = import_string("redis.asyncio.BlockingConnectionPool").from_url(
        url, max_connections=CONNECTIONS, timeout=seconds, socket_timeout=seconds, socket_connect_timeout=seconds
    )
    return cast("Redis", import_string("redis.asyncio.Redis").from_pool(pool))
