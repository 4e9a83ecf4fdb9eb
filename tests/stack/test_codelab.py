"""The Codelab socket over two processes: the IDE on one, the agent runtime's request at the other."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from tests.faces.codelab.ide import Ide, ide
from tests.stack.deployment import KEY, Deployment
from tests.stack.process import GatewayProcess

Make = Callable[..., GatewayProcess]
SERVICE_KEY = "stack-service-key"
SETTINGS = {"_INTERNAL_API_KEY": SERVICE_KEY, "_RECONNECT_GRACE": "60"}
"""As clients of the original spell them, with two underscores."""


def port_of(process: GatewayProcess) -> int:
    return int(process.url.rsplit(":", 1)[1])


async def execute(http: aiohttp.ClientSession, process: GatewayProcess, call_id: str) -> tuple[int, Any]:
    """Asks for a tool as an agent runtime does."""
    body = {"call_id": call_id, "tool_name": "read_file", "timeout_seconds": 120}
    address = f"{process.url}/tool/execute/shared"
    async with http.post(address, json=body, headers={"X-Internal-Auth": SERVICE_KEY}) as response:
        return response.status, await response.json()


async def answer(client: Ide, call_id: str, result: Any) -> None:
    assert (await client.frame("tool_call"))["call_id"] == call_id
    await client.send("tool_result", call_id=call_id, result=result)
    assert (await client.frame("ack"))["status"] == "ok"


@pytest.mark.timeout(300)
async def test_the_ide_and_the_runtime_are_on_different_processes(
    deployment: Deployment, process: Make, http: aiohttp.ClientSession
) -> None:
    deployment.settings.update(SETTINGS)
    one, two = process("one"), process("two")
    await asyncio.gather(one.start(), two.start())
    async with ide(port_of(one), "shared", KEY) as client:
        await client.send("user_message", content="count 20")
        await client.answer()
        for number, at in enumerate((two, one, two)):
            asked = asyncio.create_task(execute(http, at, f"call_{number}"))
            await answer(client, f"call_{number}", number)
            assert await asked == (200, {"status": "ok", "result": number})
        again = await execute(http, one, "call_2")
        assert again == (200, {"status": "ok", "result": 2}), "the other process knows the answer"


@pytest.mark.timeout(300)
async def test_the_ide_of_a_killed_process_comes_back_on_the_other(
    deployment: Deployment, process: Make, http: aiohttp.ClientSession
) -> None:
    deployment.settings.update(SETTINGS)
    one, two = process("one"), process("two")
    await asyncio.gather(one.start(), two.start())
    async with ide(port_of(one), "shared", KEY) as client:
        asked = asyncio.create_task(execute(http, two, "call_0"))
        offset = (await client.frame("tool_call"))["offset"]
        one.signal(signal.SIGKILL)
        assert await client.close_code() == 1006
    async with ide(port_of(two), "shared", KEY, since=offset) as client:
        await answer(client, "call_0", "back")
        assert await asked == (200, {"status": "ok", "result": "back"})
