"""The layer through which processes wake each other."""

from __future__ import annotations

from typing import Any

_YEARS = 10 * 365 * 86_400


def channel_layer(redis_url: str) -> dict[str, Any]:
    """Returns the settings of the layer: Redis, or the memory of a single process without an address of Redis."""
    if redis_url:
        return {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            # A frozen Redis must fail a send, not hold every later one behind its lock.
            "CONFIG": {
                "hosts": [{"address": redis_url, "socket_timeout": 5, "socket_connect_timeout": 2}],
                "prefix": "gateway",
            },
        }
    return {
        "BACKEND": "events_app.layer.LocalChannelLayer",
        # With the defaults one old message removes the hub from all its groups.
        "CONFIG": {"expiry": _YEARS, "group_expiry": _YEARS, "capacity": 10_000},
    }
