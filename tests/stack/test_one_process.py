"""What a deployment on SQLite refuses: a second process, which would write past the first one's followers; and what
needs no more than one to be shown: how a stop that hangs ends."""

from __future__ import annotations

import json
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import aiohttp

from tests.stack.client import Client, Watcher, until
from tests.stack.deployment import Deployment
from tests.stack.process import GatewayProcess
from tests.stack.test_start import output_lines


async def test_a_second_process_on_one_data_directory_is_refused_in_one_sentence(
    process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    first, second = process("first"), process("second")
    await first.start()
    second.spawn()
    assert await second.wait_exit() == 1
    (sentence,) = output_lines(second)
    assert f"Process {first.pid} serves" in sentence
    assert "GATEWAY_DATA_DIR" in sentence
    await Client(http, first.url).create("still-served")


async def test_the_lock_of_a_killed_process_is_free(process: Callable[..., GatewayProcess]) -> None:
    first, second = process("first"), process("second")
    await first.start()
    await first.kill()
    await second.start()


async def test_a_taken_port_leaves_the_state_untouched(tmp_path: Path, process: Callable[..., GatewayProcess]) -> None:
    server = process("serve", Deployment(tmp_path / "empty"))
    with socket.create_server(("127.0.0.1", server.port)):
        server.spawn()
        await server.wait_exit()
    assert not (tmp_path / "empty" / "gateway.sqlite3").exists()


STUBBORN = """
agents:
  - {id: stuck, name: Stuck, type: stubborn, system_prompt: "", tools: []}
"""


async def test_a_stop_that_hangs_says_in_what_and_ends_all_the_same(
    deployment: Deployment, process: Callable[..., GatewayProcess], http: aiohttp.ClientSession
) -> None:
    config = deployment.directory / "stubborn.yaml"
    config.write_text(STUBBORN, encoding="utf-8")
    engines = "stubborn=tests.stack.stubborn_engine"
    deployment.settings.update(CONFIG=str(config), ENGINES=engines, DRAIN_SECONDS="0.2")
    server = process()
    await server.start()
    client = Client(http, server.url)
    await client.post("/v1/sessions", {"sessionId": "s", "agent": "stuck"}, expect=201)
    await client.prompt("s", "stay")
    watcher = Watcher(client, "s")
    try:
        await until(lambda: any(event.type == "message_delta" for event in watcher.events), 20, "the leg is there")
        server.signal(signal.SIGTERM)
        assert await server.wait_exit() == 1
        assert "restarting, reconnect and resume" in watcher.comments
        lines = [json.loads(line) for line in server.log_path.read_text().splitlines() if line.startswith("{")]
        left = next(line for line in lines if line["event"] == "leg_does_not_end")
        assert left["session"] == "s"
        assert "stubborn_engine.py" in left["at"]
        hangs = next(line for line in lines if line["event"] == "stop_hangs")
        assert any(task.startswith("session-s at") and "stubborn_engine.py" in task for task in hangs["tasks"])
        await server.start()
        await until(lambda: any(event.type == "run_retried" for event in watcher.events), 20, "another attempt")
    finally:
        await watcher.stop()
