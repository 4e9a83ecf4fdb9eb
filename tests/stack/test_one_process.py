"""What a deployment on SQLite refuses: a second process, which would write past the first one's followers."""

from __future__ import annotations

import socket
from collections.abc import Callable

import aiohttp

from tests.stack.client import Client
from tests.stack.deployment import Deployment
from tests.stack.process import GatewayProcess
from tests.stack.test_start import said


async def test_a_second_process_on_one_data_directory_is_refused_in_one_sentence(
    process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    first, second = process("first"), process("second")
    await first.start()
    second.spawn()
    assert await second.exited() == 1
    (sentence,) = said(second)
    assert f"Process {first.pid} serves" in sentence
    assert "GATEWAY_DATA_DIR" in sentence
    await Client(http, first.url).create("still-served")


async def test_the_lock_of_a_killed_process_is_free(process: Callable[..., GatewayProcess]) -> None:
    first, second = process("first"), process("second")
    await first.start()
    await first.kill()
    await second.start()


async def test_a_taken_port_leaves_the_state_untouched(
    deployment: Deployment, process: Callable[..., GatewayProcess]
) -> None:
    server = process()
    with socket.create_server(("127.0.0.1", server.port)):
        server.spawn()
        await server.exited()
    assert not (deployment.directory / "gateway.sqlite3").exists()
