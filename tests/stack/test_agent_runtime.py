"""An IDE, the gateway and an agent runtime, each a process of its own.

Over PostgreSQL and Redis there are two gateways: the IDE's socket is on one, and the runtime asks the other for tools.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest
import pytest_asyncio

from tests.faces.codelab.ide import Ide, ide
from tests.settings import DEPLOYMENT
from tests.stack.agent_runtime import runtime_process
from tests.stack.deployment import KEY, Deployment
from tests.stack.process import GatewayProcess, free_port

pytestmark = pytest.mark.timeout(300)

SERVICE_KEY = "stack-service-key"
COUNT = 5


@pytest_asyncio.fixture
async def gateway(deployment: Deployment, process: Callable[..., GatewayProcess]) -> AsyncIterator[GatewayProcess]:
    """The gateway that has the IDE's socket."""
    names = ("one",) if DEPLOYMENT == "embedded" else ("one", "two")
    made, port = [process(name) for name in names], free_port()
    deployment.settings.update(
        {
            "_INTERNAL_API_KEY": SERVICE_KEY,
            "_AGENT_URL": f"http://127.0.0.1:{port}",
            "_REQUEST_TIMEOUT": "60",
            "_AGENT_STREAM_TIMEOUT": "60",
            "_LOG_LEVEL": "DEBUG",
        }
    )
    await asyncio.gather(*(each.start() for each in made))
    async with runtime_process(made[-1].url, SERVICE_KEY, port):
        yield made[0]
    for each in made:
        # At DEBUG, with a socket, a tool call and a failed turn behind it.
        log = each.log_path.read_text(encoding="utf-8")
        assert '"level":"' in log
        assert KEY not in log
        assert SERVICE_KEY not in log


async def session_create(http: aiohttp.ClientSession, gateway: GatewayProcess) -> str:
    async with http.post(f"{gateway.url}/v1/sessions", json={"agent": "remote"}, headers={"X-API-Key": KEY}) as made:
        assert made.status == 201, await made.text()
        return str((await made.json())["sessionId"])


async def test_tokens_come_one_by_one_and_tools_are_run_during_the_turn(
    gateway: GatewayProcess, http: aiohttp.ClientSession
) -> None:
    """The runtime sends the next token when the IDE has run the tool, and the IDE runs it when it has the token: were
    one of them held back, nothing would go on."""
    session = await session_create(http, gateway)
    text, calls = "", 0
    async with ide(gateway.port, session, token=KEY) as client:
        await client.send("user_message", content=f"tools {COUNT}")
        while True:
            frame = await client.frame("assistant_message", "tool_call")
            if frame["type"] == "tool_call":
                assert (frame["call_id"], frame["arguments"]) == (f"step-{calls}", {"number": calls})
                while not text.endswith(f"{calls} "):  # the call may overtake the token
                    text += (await client.frame("assistant_message"))["token"]
                await client.send("tool_result", call_id=frame["call_id"], result=calls * calls)
                calls += 1
                continue
            text += frame["token"]
            if frame["is_final"]:
                break
    assert text == "".join(f"{number} [200 {number * number}] " for number in range(COUNT))


async def test_a_call_in_the_answer_is_run_and_its_result_opens_the_next_leg(
    gateway: GatewayProcess, http: aiohttp.ClientSession
) -> None:
    session = await session_create(http, gateway)
    async with ide(gateway.port, session, KEY) as client:
        await client.send("user_message", content="chunk a.txt")
        call = await client.frame("tool_call")
        assert (call["tool_name"], call["arguments"]) == ("read_file", {"path": "a.txt"})
        await client.send("tool_result", call_id=call["call_id"], result="hello")
        assert "".join(await client.answer()) == "The IDE says hello."
        await client.send("user_message", content="approve b.txt")
        call = await client.frame("tool_call")
        assert call["requires_approval"]
        await client.send("hitl_decision", call_id=call["call_id"], decision="approve")
        await client.send("tool_result", call_id=call["call_id"], error="disk full")
        assert "".join(await client.answer()) == "The IDE says disk full."


async def failed(client: Ide, prompt: str) -> tuple[str, list[str]]:
    """Returns the code of the error, and the tokens of the turn that it ended."""
    before = len(client.frames)
    await client.send("user_message", content=prompt)
    code = (await client.frame("error"))["code"]
    await client.answer()
    return code, [frame["token"] for frame in client.frames[before:] if frame.get("token")]


async def test_a_runtime_that_fails_breaks_off_or_answers_late_is_told_with_its_code(
    gateway: GatewayProcess, http: aiohttp.ClientSession
) -> None:
    session = await session_create(http, gateway)
    async with ide(gateway.port, session, KEY) as client:
        assert await failed(client, "refuse") == ("AGENT_DOWN", [])
        assert await failed(client, "report") == ("AGENT_DOWN", ["half"])
        assert await failed(client, "drop") == ("AGENT_DOWN", ["half"])
        await client.send("user_message", content="late")
        assert (await client.frame("error"))["code"] == "TOOL_TIMEOUT"
        assert "".join(await client.answer()) == "504 Timeout waiting for tool_result (call_id=late)"
        assert "not for clients" not in str(client.frames)


async def test_a_runtime_that_hangs_is_down_after_the_time_out(
    deployment: Deployment, gateway: GatewayProcess, http: aiohttp.ClientSession
) -> None:
    session = await session_create(http, gateway)
    gateway.end()
    deployment.settings["_AGENT_STREAM_TIMEOUT"] = "1"
    await gateway.start()
    async with ide(gateway.port, session, KEY) as client:
        assert await failed(client, "hang") == ("AGENT_DOWN", ["half"])
        await client.send("user_message", content="chunk a.txt")
        call = await client.frame("tool_call")
        await client.send("tool_result", call_id=call["call_id"], result="again")
        assert "".join(await client.answer()) == "The IDE says again."
