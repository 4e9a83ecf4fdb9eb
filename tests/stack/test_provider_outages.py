"""Runs that wait for their provider survive `kill -9`, and any process takes them up."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from aiohttp import web

from tests.stack.client import Client, until
from tests.stack.conftest import Start
from tests.stack.deployment import Deployment

SECONDS = 60

CONFIG = """
models:
  providers:
    away:
      base_url: "http://127.0.0.1:{port}/v1"
      api_key: none
      models: [{{id: hello}}]
  defaults: {{retry: {{max_retries: 0}}}}
"""


class Provider:
    """A provider whose port refuses connections until `start`."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.asked = 0
        application = web.Application()
        application.router.add_post("/v1/chat/completions", self._answer)
        self._runner = web.AppRunner(application, shutdown_timeout=1)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for delta, end in (({"role": "assistant", "content": "Back again."}, None), ({}, "stop")):
            choice = {"index": 0, "delta": delta, "finish_reason": end}
            chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "hello", "choices": [choice]}
            await response.write(b"data: " + json.dumps(chunk).encode() + b"\n\n")
        await response.write(b"data: [DONE]\n\n")
        return response


@pytest_asyncio.fixture
async def provider() -> AsyncIterator[Provider]:
    made = Provider()
    yield made
    await made.stop()


async def run_of(client: Client, session: str) -> dict[str, Any]:
    return dict((await client.get(f"/v1/sessions/{session}/status"))["run"] or {})


@pytest.mark.timeout(600)
async def test_waits_for_a_provider_survive_the_death_of_the_process(
    deployment: Deployment, process: Start, http: aiohttp.ClientSession, provider: Provider, tmp_path: Path
) -> None:
    config = tmp_path / "gateway.yaml"
    config.write_text(CONFIG.format(port=provider.port))
    deployment.settings["CONFIG"] = str(config)
    first = process("first")
    await first.start()
    client = Client(http, first.url)
    runs = {}
    for session in ("goes-on", "aborted"):
        await client.create(session, model="away:hello")
        runs[session] = await client.prompt(session, "hello")

    async def waits() -> bool:
        return all([(await run_of(client, session)).get("providerWaiting") for session in runs])

    await until(waits, SECONDS, "both runs wait")
    held = "SELECT COUNT(*) FROM events_app_stream WHERE owner IS NOT NULL"
    await until(lambda: deployment.rows(held) == [(0,)], SECONDS, "no lease is held")
    await first.kill()
    second = process("second")
    await second.start()
    client.url = second.url
    await client.post("/v1/sessions/aborted/abort", {}, expect=202)
    await provider.start()

    async def ended() -> bool:
        return bool((await client.get("/v1/sessions/goes-on/status"))["state"] == "idle")

    await until(ended, SECONDS, "the run goes on")
    run = await client.get(f"/v1/sessions/goes-on/runs/{runs['goes-on']}")
    assert (run["status"], run["lastMessage"]["content"]) == ("completed", "Back again.")
    types = [event.type for event in await client.log("goes-on")]
    assert types.index("provider_waiting") < types.index("provider_resumed") < types.index("message_start")
    assert types.count("agent_end") == 1
    aborted = await client.get(f"/v1/sessions/aborted/runs/{runs['aborted']}")
    assert aborted["status"] == "aborted"
    assert provider.asked == 1
