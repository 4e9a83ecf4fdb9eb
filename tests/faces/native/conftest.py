"""A gateway behind its own server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.faces.native.served import Served
from tests.gateway_harness import GatewayHarness, api, gateway

__all__ = ["api", "gateway", "served"]


@pytest_asyncio.fixture
async def served(gateway: GatewayHarness) -> AsyncIterator[Served]:
    """The server, ended with the test."""
    server = Served()
    await server.start()
    yield server
    await server.stop()
