"""nginx of this machine in front of whatever a test puts behind it, with the configuration of deploy/."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.deploy.stub_gateway import Stub
from tests.stack.composition import Places, proxy
from tests.stack.process import free_port
from tests.stack.stack import nginx_require

ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Proxy:
    """A running nginx."""

    url: str
    places: Places
    ports: tuple[int, int]
    """Where it expects web processes."""

    def log_text(self) -> str:
        """Everything that it wrote."""
        logs = self.places.directory / "logs"
        return "".join(path.read_text(encoding="utf-8") for path in sorted(logs.iterdir()))


@pytest.fixture(scope="session")
def nginx() -> None:
    """nginx, installed where tests may not be skipped."""
    if not shutil.which("nginx") and os.environ.get("GATEWAY_REQUIRE_SERVICES") == "1":
        nginx_require()
    if not shutil.which("nginx"):
        pytest.skip("there is no nginx here")


@pytest.fixture
def front(nginx: None, tmp_path: Path) -> Iterator[Proxy]:
    """nginx with nothing behind it yet."""
    places = Places(tmp_path, free_port())
    ports = (free_port(), free_port())
    with nginx_running(places, ports):
        yield Proxy(places.public_url, places, ports)


@pytest_asyncio.fixture
async def client(front: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of it."""
    async with aiohttp.ClientSession(front.url) as session:
        yield session


@pytest_asyncio.fixture
async def behind(front: Proxy) -> AsyncIterator[Stub]:
    """One of the two web processes that nginx knows; the other is gone."""
    async with Stub(front.ports[0]).serve() as stub:
        yield stub


@contextmanager
def nginx_running(places: Places, web_ports: Sequence[int]) -> Iterator[None]:
    """nginx at its port, taking connections."""
    (places.directory / "logs").mkdir()
    with (places.directory / "logs" / "nginx.log").open("ab") as log:
        process = subprocess.Popen(proxy(places, web_ports).command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + ANSWER_SECONDS
        while not takes_connections(places.port):
            assert process.poll() is None, (places.directory / "logs" / "nginx.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield
    finally:
        process.terminate()
        process.wait(ANSWER_SECONDS)


def takes_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), ANSWER_SECONDS).close()
    except ConnectionRefusedError:
        return False
    return True
