"""The client of Redis: more commands at a time than redis-py's own pool has connections are performed."""

from __future__ import annotations

import asyncio

import pytest
from django.conf import settings

from core_app.redis_client import redis_client


@pytest.mark.skipif(not settings.GATEWAY_REDIS_URL, reason="the embedded deployment has no Redis")
async def test_hundreds_of_commands_at_a_time_are_all_performed() -> None:
    client = redis_client(settings.GATEWAY_REDIS_URL, seconds=60)
    try:
        assert all(await asyncio.gather(*(client.ping() for _ in range(300))))
    finally:
        await client.aclose()
