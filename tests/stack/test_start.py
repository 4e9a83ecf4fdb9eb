"""Starting: on what a former process left, and where there is no place."""

from __future__ import annotations

import socket
from collections.abc import Callable

import aiohttp
import psutil

from tests.stack.client import Client
from tests.stack.process import GatewayProcess

SECOND_START_SECONDS = 5.0
"""Of a processor's time, which others on the machine do not lengthen; how long it takes is measured by
`python -m tests.benchmarks start_up`."""


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
        f"CommandError: Port {server.port} on 127.0.0.1 is in use; GATEWAY_PORT names another.",
    ]


def output_lines(server: GatewayProcess) -> list[str]:
    """What a process that did not start said."""
    return [line for line in server.output().splitlines() if line.strip()]
