"""A real nginx with the configuration of deploy/, in front of the server of a test."""

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
from tests.stack.composition import StackLayout, proxy
from tests.stack.process import free_port
from tests.stack.stack import require_nginx

ANSWER_SECONDS = 60.0


@dataclass(frozen=True)
class Proxy:
    """A running nginx."""

    url: str
    layout: StackLayout
    ports: tuple[int, int]
    """The ports at which it expects web processes."""

    def log_text(self) -> str:
        """Returns everything that nginx logged."""
        logs = self.layout.directory / "logs"
        return "".join(path.read_text(encoding="utf-8") for path in sorted(logs.iterdir()))


@pytest.fixture(scope="session")
def nginx() -> None:
    """Installs nginx where tests may not be skipped."""
    if not shutil.which("nginx") and os.environ.get("GATEWAY_REQUIRE_SERVICES") == "1":
        require_nginx()
    if not shutil.which("nginx"):
        pytest.skip("there is no nginx here")


@pytest.fixture
def front(nginx: None, tmp_path: Path) -> Iterator[Proxy]:
    """An nginx without a server behind it."""
    layout = StackLayout(tmp_path, free_port())
    ports = (free_port(), free_port())
    with nginx_running(layout, ports):
        yield Proxy(layout.public_url, layout, ports)


@pytest_asyncio.fixture
async def client(front: Proxy) -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client of nginx."""
    async with aiohttp.ClientSession(front.url) as session:
        yield session


@pytest_asyncio.fixture
async def behind(front: Proxy) -> AsyncIterator[Stub]:
    """A stub in place of one of nginx's two web processes; the other is down."""
    async with Stub(front.ports[0]).serve() as stub:
        yield stub


@contextmanager
def nginx_running(layout: StackLayout, web_ports: Sequence[int]) -> Iterator[None]:
    """Starts nginx and waits until it accepts connections."""
    (layout.directory / "logs").mkdir()
    with (layout.directory / "logs" / "nginx.log").open("ab") as log:
        process = subprocess.Popen(proxy(layout, web_ports).command, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + ANSWER_SECONDS
        while not takes_connections(layout.port):
            assert process.poll() is None, (layout.directory / "logs" / "nginx.log").read_text()
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
