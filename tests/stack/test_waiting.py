"""Everything that a run can wait for survives `kill -9`, and is settled by REST and over the WebSocket afterwards."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.stack.client import Client, until
from tests.stack.conftest import Start
from tests.stack.deployment import KEY

SECONDS = 20


class Later:
    """A callback that answers 202 and remembers where the result is to go."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.port = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(await request.json())
        return web.Response(status=202)


@pytest_asyncio.fixture
async def later() -> AsyncIterator[Later]:
    server = Later()
    application = web.Application()
    application.router.add_post("/", server.answer)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


def settling_action(kind: str, status: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The action that settles what the session waits for, and its fields."""
    if kind == "approval":
        return "approve", {"approvalId": status["pendingApprovals"][0]["approvalId"]}
    if kind == "question":
        return "respond", {"ref": status["pendingQuestions"][0]["ref"], "response": "1"}
    return "tool_result", {"callId": status["pendingTools"][0]["callId"], "result": {"y": 2}}


async def over_the_socket(http: aiohttp.ClientSession, url: str, session: str, frame: dict[str, Any]) -> None:
    async with http.ws_connect(f"{url}/v1/sessions/{session}/ws", headers={"X-API-Key": KEY}) as socket:
        await socket.send_str(json.dumps(frame))
        while "ok" not in (answer := await socket.receive_json(timeout=SECONDS)):
            pass
        assert answer["ok"], answer


PROMPTS = {"approval": "approve", "question": "ask", "client": "use own"}
PATHS = {"approve": "approve", "respond": "respond", "tool_result": "tool-results"}
OWN = {"name": "own", "description": "run by the client", "parameters": {"type": "object"}}


@pytest.mark.timeout(600)
async def test_every_wait_survives_the_death_of_its_process_and_is_settled_both_ways(
    process: Start, http: aiohttp.ClientSession
) -> None:
    server = process()
    await server.start()
    client = Client(http, server.url)
    sessions = [f"{kind}-{way}" for kind in PROMPTS for way in ("rest", "socket")]
    for session in sessions:
        await client.create(session, tools=[OWN])
        await client.prompt(session, PROMPTS[session.partition("-")[0]])
    for session in sessions:
        await until(partial(waits, client, session), SECONDS, f"{session} waits")
    await server.kill()
    await server.start()
    for session in sessions:
        kind, _, way = session.partition("-")
        action, fields = settling_action(kind, await client.get(f"/v1/sessions/{session}/status"))
        if way == "socket":
            await over_the_socket(http, server.url, session, {"action": action, **fields})
        else:
            await client.post(f"/v1/sessions/{session}/{PATHS[action]}", fields, expect=200)
    for session in sessions:
        await until(partial(is_idle, client, session), SECONDS, f"{session} ends")
        events = await client.log(session)
        assert [event.type for event in events].count("agent_end") == 1
        assert [event.id for event in events] == list(range(1, len(events) + 1))


@pytest.mark.timeout(600)
async def test_a_callback_that_answers_later_is_awaited_across_a_death_and_not_made_again(
    process: Start, http: aiohttp.ClientSession, later: Later
) -> None:
    server = process()
    await server.start()
    client = Client(http, server.url)
    await client.create("late", tools=[{**OWN, "callbackUrl": f"http://127.0.0.1:{later.port}/"}])
    await client.prompt("late", "use own")
    await until(partial(waits, client, "late"), SECONDS, "the callback is awaited")
    await server.kill()
    await server.start()
    async with http.post(later.asked[0]["resultUrl"], json={"result": "it came"}) as answer:
        assert answer.status == 200, await answer.text()
    await until(partial(is_idle, client, "late"), SECONDS, "the run ends")
    assert len(later.asked) == 1
    last = (await client.log("late"))[-1]
    assert last.type == "agent_end"
    assert "it came" in last.data["lastMessage"]["content"]


async def waits(client: Client, session: str) -> bool:
    return str((await client.get(f"/v1/sessions/{session}"))["state"]).startswith("waiting")


async def is_idle(client: Client, session: str) -> bool:
    return bool((await client.get(f"/v1/sessions/{session}"))["state"] == "idle")
