"""Real processes on a state of their own: SQLite, or PostgreSQL and Redis when the distributed deployment is tested."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.__main__ import services_find
from tests.settings import DEPLOYMENT
from tests.stack.client import Client
from tests.stack.deployment import Deployment, database_of_its_own
from tests.stack.process import GatewayProcess

# What only one process may do, and what it takes two for.
SEVERAL = ["test_two_processes.py", "test_workers.py"]
collect_ignore = SEVERAL if DEPLOYMENT == "embedded" else ["test_one_process.py"]

Start = Callable[..., GatewayProcess]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """An empty state."""
    directory = tmp_path / "data"
    directory.mkdir()
    with ExitStack() as stack:
        yield deployment_of(directory, stack)


def deployment_of(directory: Path, stack: ExitStack, **settings: str) -> Deployment:
    """A state of the deployment under test; a distributed one needs its services."""
    if DEPLOYMENT == "embedded":
        return Deployment(directory, settings=settings)
    services, missing = services_find(os.environ)
    if not services:
        refuse = pytest.fail if os.environ.get("GATEWAY_REQUIRE_SERVICES") == "1" else pytest.skip
        refuse(missing)
    database_url = stack.enter_context(database_of_its_own(services["GATEWAY_TEST_DATABASE_URL"]))
    return Deployment(directory, database_url, services["GATEWAY_TEST_REDIS_URL"], settings)


@pytest.fixture
def process(deployment: Deployment) -> Iterator[Start]:
    """Makes processes that are ended with the test: of `deployment`, or of another."""
    made: list[GatewayProcess] = []

    def make(name: str = "serve", of: Deployment = deployment) -> GatewayProcess:
        made.append(GatewayProcess(of, name))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """Connections without a limit: hundreds of followers at once."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        yield session


@pytest.fixture
def client_of(http: aiohttp.ClientSession) -> Callable[[GatewayProcess], Client]:
    """A client of a process."""
    return lambda process: Client(http, process.url)
