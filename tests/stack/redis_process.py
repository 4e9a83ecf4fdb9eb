"""A Redis of the test's own, which it may kill and freeze."""

from __future__ import annotations

import asyncio
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.stack.process import free_port

START_SECONDS = 60.0


class RedisProcess:
    """`redis-server` on a free port, without persistence."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def alive(self) -> bool:
        """True while it runs or is frozen."""
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        self._spawn()
        async with asyncio.timeout(START_SECONDS):
            while not self._answers():  # noqa: ASYNC110  (another process says nothing when it is ready)
                await asyncio.sleep(0.02)

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(START_SECONDS)

    def _spawn(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen(command, cwd=self._directory, stdout=subprocess.DEVNULL)

    def _answers(self) -> bool:
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """Yields a Redis that is not started yet; ends it afterwards."""
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server is installed that a test could kill")
    server = RedisProcess(tmp_path)
    yield server
    server.end()
