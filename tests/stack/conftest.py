"""Real processes with a state of their own: SQLite, or PostgreSQL and Redis for the distributed deployment."""

from __future__ import annotations

import asyncio
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
from tests.stack.template import state_copy, template_database

# What only one process may do, and what it takes two for.
SEVERAL = ["test_agentbus.py", "test_codelab.py", "test_outages.py", "test_two_processes.py", "test_workers.py"]
collect_ignore = SEVERAL if DEPLOYMENT == "embedded" else ["test_one_process.py"]

LONGEST = ("test_outages.py", "test_workers.py", "test_kill.py", "test_two_processes.py", "test_stop.py")
"""Modules whose tests run first, so that no worker of several is left with them at the end."""

Start = Callable[..., GatewayProcess]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Moves the longest tests to the front."""
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.name, len(ranks)))


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Deployment]:
    """A state that is empty but for its schema."""
    directory = tmp_path / "data"
    directory.mkdir(mode=0o700)
    with ExitStack() as stack:
        yield deployment_of(directory, stack)


def deployment_of(directory: Path, stack: ExitStack, **settings: str) -> Deployment:
    """Creates a state of the deployment under test, with its schema; a distributed one needs its services."""
    if DEPLOYMENT == "embedded":
        state_copy(directory)
        return Deployment(directory, settings=settings)
    services, missing = services_find(os.environ)
    if not services:
        refuse = pytest.fail if os.environ.get("GATEWAY_REQUIRE_SERVICES") == "1" else pytest.skip
        refuse(missing)
    server_url = services["GATEWAY_TEST_DATABASE_URL"]
    database_url = stack.enter_context(database_of_its_own(server_url, template_database(server_url)))
    return Deployment(directory, database_url, services["GATEWAY_TEST_REDIS_URL"], settings)


@pytest.fixture
def process(deployment: Deployment) -> Iterator[Start]:
    """A function that creates processes of `deployment`, or of another; they end with the test."""
    made: list[GatewayProcess] = []

    def make(name: str = "serve", of: Deployment = deployment) -> GatewayProcess:
        made.append(GatewayProcess(of, name))
        return made[-1]

    yield make
    for each in made:
        each.end()


@pytest_asyncio.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """A client without a limit of connections, for hundreds of followers at once."""
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
        yield session
    # Closing waits for bytes that are still to be sent, such as those of a body that its server refused halfway. Nobody
    # reads them, and the connection would be found open, with an error, in the middle of some later test.
    for transport in list(getattr(asyncio.get_running_loop(), "_transports", {}).values()):
        transport.abort()
    await asyncio.sleep(0)


@pytest.fixture
def client_of(http: aiohttp.ClientSession) -> Callable[[GatewayProcess], Client]:
    """Returns a client of a process."""
    return lambda process: Client(http, process.url)
