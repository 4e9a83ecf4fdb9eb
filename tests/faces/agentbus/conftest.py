"""The gateway behind a server of its own, and clients of the Agentbus socket."""

from __future__ import annotations

import pytest
from django.conf import settings

from tests.faces.native.conftest import api, gateway, server

__all__ = ["api", "gateway", "server"]


@pytest.fixture(autouse=True)
def _no_failures_counted() -> None:
    """Forgets the failures that earlier tests left in Redis, where they outlive a process."""
    if settings.GATEWAY_REDIS_URL:
        from redis import Redis

        with Redis.from_url(settings.GATEWAY_REDIS_URL) as redis:
            for name in redis.scan_iter("gateway:lockout:*"):
                redis.delete(name)
