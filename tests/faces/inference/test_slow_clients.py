"""A connected client that reads nothing holds its provider's stream for a limited time."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from gateway_project.asgi import application
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.circuits import CIRCUITS
from tests.agents.conftest import Upstream
from tests.conftest import Caller
from tests.faces.inference.conftest import ledger
from tests.gateway_harness import WAIT, GatewayHarness, _scope, eventually

MODEL = Candidate("scripted", "slow:5")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/responses"])
async def test_a_client_that_takes_nothing_is_taken_for_gone(
    gateway: GatewayHarness, upstream: Upstream, owner: Caller, settings: Any, path: str
) -> None:
    settings.GATEWAY_SLOW_CLIENT_SECONDS = 0.05
    asked = {"model": MODEL.name, "messages": [{"role": "user", "content": "x"}], "stream": True}
    if path == "/v1/responses":
        asked = {"model": MODEL.name, "input": "x", "stream": True}
    pending = [{"type": "http.request", "body": json.dumps(asked).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        return pending.pop() if pending else await asyncio.Event().wait()  # type: ignore[return-value]  # never

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async with asyncio.timeout(WAIT):
        headers = {"content-type": "application/json", **owner.headers}
        await application(_scope("POST", path, headers), receive, send)
    await eventually(lambda: upstream.open_streams() == 0)
    (entry,) = await ledger()
    assert entry.kind == "inference_estimate"
    assert CIRCUITS.state(MODEL) == "CLOSED"
