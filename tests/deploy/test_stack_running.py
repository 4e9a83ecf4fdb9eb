"""`make stack` for real: a session through nginx, two web processes and two workers, and the stop."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass

import aiohttp
import pytest
from django.conf import settings

from tests.__main__ import services_find
from tests.settings import DEPLOYMENT
from tests.stack.composition import StackLayout
from tests.stack.deployment import database_of_its_own
from tests.stack.stack import Started, is_alive, started_processes

pytestmark = [
    pytest.mark.skipif(DEPLOYMENT == "embedded", reason="it takes PostgreSQL and Redis"),
    pytest.mark.timeout(600),
]
ANSWER_SECONDS = 60.0
TOUR = {"sessionId": "toured", "model": "demo:tour"}


@dataclass(frozen=True)
class Stack:
    """A running stack and its key."""

    layout: StackLayout
    variables: dict[str, str]
    processes: list[Started]

    @property
    def key(self) -> str:
        return (self.layout.secrets / "api_keys").read_text(encoding="ascii").strip()

    def make(self, action: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tests.stack.stack", action]
        return subprocess.run(
            command, cwd=settings.BASE_DIR, env=self.variables, capture_output=True, text=True, check=False
        )


@pytest.fixture(scope="module")
def stack(nginx: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    services, missing = services_find(os.environ)
    if not services:
        pytest.skip(missing)
    with ExitStack() as ends:
        layout = StackLayout(tmp_path_factory.mktemp("stack"), five_ports())
        variables = {
            "PATH": os.environ["PATH"],
            "STACK_DIRECTORY": str(layout.directory),
            "STACK_PORT": str(layout.port),
            "STACK_REDIS_URL": services["GATEWAY_TEST_REDIS_URL"],
            "STACK_DATABASE_URL": ends.enter_context(database_of_its_own(services["GATEWAY_TEST_DATABASE_URL"])),
        }
        made = Stack(layout, variables, [])
        result = made.make("start")
        assert result.returncode == 0, result.stderr
        made.processes.extend(started_processes(layout))
        yield made
        made.make("stop")


def five_ports() -> int:
    """Returns the first of five free ports in a row."""
    for first in range(20_000, 30_000, 5):
        with ExitStack() as held:
            try:
                for port in range(first, first + 5):
                    held.enter_context(closing(socket.create_server(("127.0.0.1", port))))
            except OSError:
                continue
        return first
    raise AssertionError("no five ports are free")


async def test_a_session_goes_through_nginx_a_web_process_and_a_worker(stack: Stack) -> None:
    timeout = aiohttp.ClientTimeout(total=ANSWER_SECONDS)
    async with aiohttp.ClientSession(
        stack.layout.public_url, headers={"X-API-Key": stack.key}, timeout=timeout
    ) as client:
        async with client.post("/v1/sessions", json=TOUR) as answer:
            assert answer.status == 201
        async with client.post("/v1/sessions/toured/prompt", json={"text": "Hello"}) as answer:
            assert answer.status == 202
        async with client.get("/v1/sessions/toured/events") as answer:
            lines = (await answer.text()).splitlines()
        assert [line for line in lines if line.startswith("event: ")][-1] == "event: agent_end"
        async with client.ws_connect(f"/v1/sessions/toured/ws?api_key={stack.key}") as connection:
            await connection.send_json({"action": "ping", "requestRef": "a"})
            assert (await connection.receive_json())["requestRef"] == "a"


def test_no_process_writes_the_key_down(stack: Stack) -> None:
    logs = {path.name: path.read_text(encoding="utf-8") for path in (stack.layout.directory / "logs").iterdir()}
    assert {"access.log", "nginx.log", "web-1.log", "web-2.log", "worker-1.log", "worker-2.log"} <= set(logs)
    assert [name for name, text in logs.items() if stack.key in text] == []


def test_a_second_start_is_refused_and_disturbs_nothing(stack: Stack) -> None:
    result = stack.make("start")
    assert (result.returncode, result.stderr) == (1, "The stack runs already: 'make stack-stop' ends it.\n")
    assert all(map(is_alive, stack.processes))


def test_a_stop_ends_every_process_by_draining_it(stack: Stack) -> None:
    assert [process.name for process in stack.processes] == ["web-1", "web-2", "worker-1", "worker-2", "nginx"]
    result = stack.make("stop")
    assert (result.returncode, "killed" in result.stdout) == (0, False)
    assert not any(map(is_alive, stack.processes))
    for name in ("web-1", "worker-1"):
        log = (stack.layout.directory / "logs" / f"{name}.log").read_text(encoding="utf-8")
        assert "draining" in {json.loads(line)["event"] for line in log.splitlines() if line.startswith("{")}
