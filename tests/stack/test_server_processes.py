"""Several server processes behind one port: they share the work, are replaced when they die, and end together."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Callable
from typing import Any

import aiohttp
import psutil
import pytest

from tests.settings import DEPLOYMENT
from tests.stack import laws
from tests.stack.client import Client, until
from tests.stack.load import Roamer
from tests.stack.process import SERVE, GatewayProcess, free_port
from tests.stack.reader import Reader

SECONDS = 120.0
PROCESSES = 2

Start = Callable[..., GatewayProcess]


def members(parent: GatewayProcess) -> list[psutil.Process]:
    """Returns the server processes, the eldest first."""
    return sorted(psutil.Process(parent.pid).children(), key=lambda each: each.create_time())


def ends(parent: GatewayProcess) -> list[dict[str, Any]]:
    """Returns the ends of processes that the parent has noted, after which none of them is a zombie."""
    return [line for line in parent.log() if line["event"] == "process_ended"]


@pytest.fixture
def server(process: Start) -> GatewayProcess:
    """A parent that is not started yet."""
    made = process("several")
    made.command = (*SERVE, "--processes", str(PROCESSES))
    return made


async def serving(server: GatewayProcess) -> list[psutil.Process]:
    """Starts the parent, and returns the processes once all of them serve."""
    await server.start(SECONDS)
    await until(lambda: "Agent Gateway" in server.output(), SECONDS, "the addresses are printed")
    found = members(server)
    assert len(found) == PROCESSES
    return found


@pytest.mark.skipif(DEPLOYMENT != "embedded", reason="the other deployment serves with several")
async def test_one_database_file_has_one_process(server: GatewayProcess) -> None:
    server.spawn()
    assert await server.wait_exit() == 1
    assert server.output().splitlines() == [
        "2 processes (GATEWAY_PROCESSES, --processes) need PostgreSQL and Redis: set GATEWAY_DATABASE_URL and"
        " GATEWAY_REDIS_URL."
    ]


several = pytest.mark.skipif(DEPLOYMENT == "embedded", reason="SQLite has one process")


@several
async def test_a_killed_process_is_replaced_while_the_others_serve(
    server: GatewayProcess, http: aiohttp.ClientSession
) -> None:
    first_port = free_port()
    server.variables = {"GATEWAY_PROCESS_PORT": str(first_port)}
    victim, survivor = await serving(server)
    direct = Client(http, f"http://127.0.0.1:{first_port}")
    client = Roamer(http, [server.url], random.Random(1))
    await direct.create("kept", providerOpts={"delayMs": 20})
    request_id = await direct.prompt("kept", "long 100")
    victim.kill()
    assert (await client.insist(lambda: client.get("/v1/sessions/kept")))["sessionId"] == "kept"
    await until(lambda: len(ends(server)) == 1, SECONDS, "its end is noted")
    await until(lambda: len(members(server)) == PROCESSES, SECONDS, "another process has been started")
    assert survivor in members(server)
    [ended] = ends(server)
    assert (ended["process"], ended["exit_code"]) == (0, -signal.SIGKILL)
    reader = Reader(client, "kept")
    await until(lambda: request_id in reader.over, SECONDS, "the run has ended")
    await reader.stop()
    laws.every_run_ends_once(reader.events, {request_id})
    # Its own port is back, too.
    again = Roamer(http, [f"http://127.0.0.1:{first_port}"], random.Random(1))
    assert (await again.insist(lambda: again.get("/v1/sessions/kept")))["sessionId"] == "kept"


@several
async def test_a_signal_drains_all_of_them(server: GatewayProcess) -> None:
    found = await serving(server)
    server.signal(signal.SIGTERM)
    assert await server.wait_exit() == 0
    assert not any(each.is_running() for each in found)


@several
async def test_processes_whose_parent_is_gone_end(server: GatewayProcess) -> None:
    found = await serving(server)
    await server.kill()
    _, alive = await asyncio.to_thread(psutil.wait_procs, found, SECONDS)
    assert alive == []


@several
async def test_a_start_that_one_process_fails_ends_with_its_sentence(
    server: GatewayProcess, http: aiohttp.ClientSession
) -> None:
    taken = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    server.variables = {"GATEWAY_PROCESS_PORT": str(port)}
    server.spawn()
    async with taken:
        assert await server.wait_exit() == 1
    assert f"Port {port} on 127.0.0.1 is in use; set GATEWAY_PROCESS_PORT to another." in server.output()
    assert "Agent Gateway" not in server.output()
