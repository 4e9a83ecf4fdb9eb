"""A `manage.py serve` in a process of its own, which a test starts, kills, stops, freezes and thaws.

Whatever a test does to it, `end` leaves nothing behind.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from tests.stack.deployment import Deployment

ROOT = Path(__file__).resolve().parents[2]
SERVE = (sys.executable, "manage.py", "serve")
START_SECONDS = 120.0
EXIT_SECONDS = 120.0


def free_port() -> int:
    """Returns a free port that no other process is assigned.

    On Linux it stays bound in this process to its end: servers, which set SO_REUSEADDR, can listen on it anyway, and
    it is assigned neither to outgoing connections nor for port 0.
    """
    probe = socket.socket()
    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    probe.bind(("127.0.0.1", 0))
    port = int(probe.getsockname()[1])
    if sys.platform == "linux":
        probe.detach()
    else:
        probe.close()
    return port


class GatewayProcess:
    """One process of `command`; `start` may be called again after its end, and uses the same port."""

    def __init__(self, deployment: Deployment, name: str = "serve", command: Sequence[str] = SERVE) -> None:
        self.deployment = deployment
        self.command = command
        self.variables: dict[str, str] = {}
        """Environment of this process alone, from its next start."""
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.log_path = deployment.directory.parent / f"{name}-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while it runs or is frozen."""
        return self._process is not None and self._process.poll() is None

    def spawn(self) -> None:
        """Starts it without waiting."""
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=self.deployment.environment(self.port) | self.variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def start(self, seconds: float = START_SECONDS) -> None:
        """Starts it and waits until it answers; fails with its log when it ends or needs longer."""
        self.spawn()
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
            while not await _answers(session, f"{self.url}/healthz"):
                assert self._process is not None
                assert self._process.poll() is None, self.log_path.read_text(encoding="utf-8")
                await asyncio.sleep(0.02)

    async def kill(self) -> None:
        """Sends SIGKILL and waits for its end."""
        self.signal(signal.SIGKILL)
        await self.wait_exit()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def wait_exit(self, seconds: float = EXIT_SECONDS) -> int:
        """Waits for its end; returns the exit code."""
        assert self._process is not None
        return await asyncio.to_thread(self._process.wait, seconds)

    def log(self) -> list[dict[str, Any]]:
        """Returns the lines of its log."""
        lines = self.log_path.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def output(self) -> str:
        """Returns everything that it printed."""
        return self.log_path.read_text(encoding="utf-8")

    def end(self) -> None:
        """Kills it and closes its files."""
        process = self._process
        if process is not None and process.poll() is None:
            process.kill()
            process.wait(EXIT_SECONDS)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
