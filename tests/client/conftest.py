"""A real gateway for the client: one that all tests share, and processes that a test may kill."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack

import pytest
import pytest_asyncio

from gateway_client import AsyncGateway, Timeouts
from tests.stack.conftest import deployment, deployment_of, process
from tests.stack.deployment import KEY
from tests.stack.process import GatewayProcess

__all__ = ["deployment", "process"]

QUICK = Timeouts(first_pause=0.02, longest_pause=0.5)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway that nobody kills."""
    directory = tmp_path_factory.mktemp("client") / "data"
    directory.mkdir(mode=0o700)
    with ExitStack() as stack:
        gateway = GatewayProcess(deployment_of(directory, stack))
        stack.callback(gateway.end)
        asyncio.run(gateway.start())
        yield gateway


@pytest_asyncio.fixture
async def gateway(served: GatewayProcess) -> AsyncIterator[AsyncGateway]:
    async with AsyncGateway(served.url, KEY, timeouts=QUICK) as client:
        yield client
