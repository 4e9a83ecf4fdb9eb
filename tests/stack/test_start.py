"""A start on the state of a former process, and starts that are refused."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Callable
from pathlib import Path

import aiohttp
import psutil
import pytest

from tests.__main__ import services_find
from tests.settings import DEPLOYMENT
from tests.stack.client import Client
from tests.stack.deployment import Deployment, database_of_its_own
from tests.stack.process import GatewayProcess
from tests.stack.template import ROOT

SECOND_START_SECONDS = 5.0
"""Processor seconds, which a busy machine does not lengthen; `python -m tests.benchmarks start_up` measures the elapsed
time."""


async def test_a_second_start_takes_less_than_five_seconds(
    process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    server = process()
    await server.start()
    await Client(http, server.url).create("kept")
    await server.kill()
    await server.start()
    taken = psutil.Process(server.pid).cpu_times()
    assert taken.user + taken.system < SECOND_START_SECONDS
    assert (await Client(http, server.url).get("/v1/sessions/kept"))["state"] == "idle"


async def test_a_port_in_use_is_refused_in_one_sentence(process: Callable[..., GatewayProcess]) -> None:
    server = process()
    with socket.create_server(("127.0.0.1", server.port)):
        server.spawn()
        assert await server.wait_exit() == 1
    assert output_lines(server) == [
        f"Port {server.port} on 127.0.0.1 is in use; set GATEWAY_PORT to another.",
    ]


@pytest.mark.skipif(DEPLOYMENT == "embedded", reason="SQLite has one process")
async def test_processes_that_start_at_once_on_an_empty_database_wait_for_the_one_that_migrates(tmp_path: Path) -> None:
    """Before, one waited inside a statement for the other, whose concurrent indexes waited for it: a deadlock."""
    services, _ = services_find(os.environ)
    with database_of_its_own(services["GATEWAY_TEST_DATABASE_URL"]) as url:
        environment = Deployment(tmp_path, url).environment(port=4000)
        preparing = [
            await asyncio.create_subprocess_exec(
                sys.executable, "manage.py", "prepare", cwd=ROOT, env=environment, stdout=PIPE, stderr=STDOUT
            )
            for _ in range(2)
        ]
        for each in preparing:
            output, _ = await each.communicate()
            assert each.returncode == 0, output.decode()


def output_lines(server: GatewayProcess) -> list[str]:
    """Returns the output of a process that did not start."""
    return [line for line in server.output().splitlines() if line.strip()]
