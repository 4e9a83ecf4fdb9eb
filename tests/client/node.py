"""Node programs as tests run them: the JavaScript client from this checkout, on a node that may be missing."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway_client import Event
from gateway_client.events import event_decode

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "clients/typescript"
PROGRAMS = Path(__file__).parent / "javascript"
OLDEST_NODE = 20
NODE_WITH_WEBSOCKET = 22
SECONDS = 240


def node() -> str:
    """Returns the path of node; skips the test if there is none that is new enough."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("There is no node here, which the JavaScript client needs.")
    if (version := node_version(found)) < OLDEST_NODE:
        pytest.skip(f"The JavaScript client needs node {OLDEST_NODE}; here is {version}.")
    return found


def node_version(found: str) -> int:
    """The major version."""
    done = subprocess.run([found, "--version"], capture_output=True, text=True, timeout=60, check=True)
    return int(done.stdout.removeprefix("v").partition(".")[0])


def npm() -> str:
    """Returns the path of npm; skips the test if there is none."""
    node()
    found = shutil.which("npm")
    if found is None:
        pytest.skip("There is no npm here, which packs the JavaScript client.")
    return found


def flags() -> Sequence[str]:
    """The option that gives an older node the WebSocket of browsers."""
    return () if node_version(node()) >= NODE_WITH_WEBSOCKET else ("--experimental-websocket",)


def run(*command: str | Path, cwd: Path = ROOT) -> str:
    """Runs a command to its end; returns what it printed."""
    done = subprocess.run(
        [str(each) for each in command], cwd=cwd, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Program:
    """A node program that prints JSON, one value per line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def write_line(self, text: str) -> None:
        """Sends it a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())

    async def read(self) -> dict[str, Any] | None:
        """The next value, None at its end; fails with what it printed when it failed."""
        assert self._process.stdout is not None
        if line := await self._process.stdout.readline():
            value: dict[str, Any] = json.loads(line)
            return value
        assert self._process.stderr is not None
        errors = await self._process.stderr.read()
        assert await self._process.wait() == 0, errors.decode()
        return None

    async def end_input_after(self, event: asyncio.Event) -> None:
        """Ends its standard input when the event is set."""
        await event.wait()
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def values(self) -> AsyncIterator[dict[str, Any]]:
        while (value := await self.read()) is not None:
            yield value


@asynccontextmanager
async def program(*arguments: str | Path, cwd: Path = ROOT) -> AsyncIterator[Program]:
    """Starts a node program, and kills it if it has not ended by then. Its caller limits the time."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        node(),
        "--no-warnings",
        *(str(each) for each in arguments),
        cwd=cwd,
        env=environment,
        stdin=-1,
        stdout=-1,
        stderr=-1,
        limit=2**20,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def event_of(value: dict[str, Any]) -> Event:
    """The event that a program printed."""
    return event_decode(value["type"], value["data"], value["id"])
