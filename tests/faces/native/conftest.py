"""The gateway behind a server of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import GatewayHarness, api, gateway

__all__ = ["api", "gateway", "server"]


@pytest_asyncio.fixture
async def server(gateway: GatewayHarness) -> AsyncIterator[LiveServer]:
    """The server; it stops with the test."""
    server = LiveServer()
    await server.start()
    yield server
    await server.stop()
