"""The gateway in the test's process in front of the scripted upstream in a process of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from redis import Redis

from core_app import database
from core_app.lifecycle import reset_process_wide
from gateway_project.asgi import application
from inference_app.spend.metering import METER
from tenants_app.models import LedgerEntry
from tests.agents.conftest import ROOT, Upstream
from tests.conftest import Caller
from tests.gateway_harness import WAIT, GatewayHarness, _scope, gateway

__all__ = ["gateway"]

CONFIG = """
models:
  providers:
    scripted:
      base_url: "{url}"
      api_key_env: TEST_UPSTREAM_KEY
      headers: {{X-Team: tests}}
      models:
        - {{id: hello, price: {{input: 1000000, output: 2000000, cached: 0}}}}
    second: {{base_url: "{url}", api_key: none}}
    messages: {{base_url: "{root}", api_key_env: TEST_UPSTREAM_KEY, wire: anthropic}}
    everything: {{base_url: "{url}", api_key: none, also: [openai-responses, anthropic]}}
    hasty: {{base_url: "{url}", api_key: none, timeout: 0.3}}
    keyless: {{base_url: "{url}", api_key_env: NO_SUCH_KEY}}
    closed: {{base_url: "http://127.0.0.1:9/v1", api_key: none}}
  model_routing: {{locked: [keyless]}}
  model_aliases:
    hello: "scripted:hello"
    resilient: [{{model: "scripted:status:500", weight: 1000000}}, {{model: "second:hello", weight: 0}}]
    unreachable-first: [{{model: "closed:hello", weight: 1000000}}, {{model: "second:hello", weight: 0}}]
    limited-first: [{{model: "scripted:limited:60", weight: 1000000}}, {{model: "second:hello", weight: 0}}]
    hanging-first: [{{model: "hasty:hang:0", weight: 1000000}}, {{model: "second:hello", weight: 0}}]
    dropping-first: [{{model: "scripted:drop:0", weight: 1000000}}, {{model: "second:hello", weight: 0}}]
    garbage-first: [{{model: "scripted:garbage", weight: 1000000}}, {{model: "second:hello", weight: 0}}]
  defaults:
    retry: {{max_retries: 1, base_delay_ms: 0, max_delay_ms: 1000}}
"""

KEY = "sk-upstream-secret-key"


@pytest.fixture(scope="session")
def upstream_process() -> Iterator[Upstream]:
    command = [sys.executable, "-m", "tests.faces.inference.upstream", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Upstream(int(process.stdout.readline()))
        process.kill()


@pytest.fixture
def upstream(upstream_process: Upstream, settings: Any, tmp_path: Path, monkeypatch: Any) -> Iterator[Upstream]:
    """The upstream, and a configuration that knows it under several names."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "DEEPSEEK_API_KEY", "OPENROUTER_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TEST_UPSTREAM_KEY", KEY)
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG.format(url=upstream_process.url, root=upstream_process.url.removesuffix("/v1")))
    settings.GATEWAY_CONFIG = path
    upstream_process.reset()
    _forget()
    yield upstream_process
    _forget()


def _forget() -> None:
    if settings.GATEWAY_REDIS_URL:
        with Redis.from_url(settings.GATEWAY_REDIS_URL) as redis:
            for key in redis.scan_iter("gateway:*:inference:*"):
                redis.delete(key)
    reset_process_wide()


@dataclass
class Heard:
    """A response as a client of the relay receives it."""

    status: int | None = None
    headers: dict[str, str] = field(default_factory=dict)
    chunks: list[bytes] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    ended: bool = False

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def events(self) -> list[Any]:
        """The data of every event but `[DONE]`."""
        lines = [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: ")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]

    @property
    def text(self) -> str:
        """The text of a streamed chat completion."""
        choices = [choice for event in self.events for choice in event.get("choices", ())]
        return "".join(choice["delta"].get("content") or "" for choice in choices)

    async def until(self, seen: Any) -> None:
        async with asyncio.timeout(WAIT):
            while not seen():
                assert not self.ended, self.body
                self.changed.clear()
                await self.changed.wait()


class RelayClient:
    """A client that sends requests to the relay with the key of `caller`, or without a key."""

    def __init__(self, caller: Caller | None) -> None:
        self._headers = caller.headers if caller is not None else {}

    async def post(self, path: str, payload: Any, **headers: str) -> Heard:
        """Sends a request and returns its complete response."""
        async with self.open_request(path, payload, **headers) as heard:
            await heard.until(lambda: heard.ended)
        return heard

    async def chat(self, model: str, *, stream: bool = False, **more: Any) -> Heard:
        """Requests a chat completion."""
        messages = [{"role": "user", "content": "Hi"}]
        body = {"model": model, "messages": messages, **({"stream": True} if stream else {}), **more}
        return await self.post("/v1/chat/completions", body)

    async def get(self, path: str, **headers: str) -> Heard:
        async with self.open_request(path, None, method="GET", **headers) as heard:
            await heard.until(lambda: heard.ended)
        return heard

    @asynccontextmanager
    async def open_request(self, path: str, payload: Any, method: str = "POST", **headers: str) -> AsyncIterator[Heard]:
        """Opens a request; the client disconnects at the end of the block."""
        raw = payload if isinstance(payload, bytes) else b"" if payload is None else json.dumps(payload).encode()
        given = {
            "content-type": "application/json",
            **self._headers,
            **{k.replace("_", "-"): v for k, v in headers.items()},
        }
        heard, gone, asked = Heard(), asyncio.Event(), False

        async def receive() -> dict[str, Any]:
            nonlocal asked
            if not asked:
                asked = True
                return {"type": "http.request", "body": raw, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                heard.status = message["status"]
                heard.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            elif message.get("body"):
                heard.chunks.append(message["body"])
            heard.ended = message["type"] == "http.response.body" and not message.get("more_body", False)
            heard.changed.set()

        task = asyncio.create_task(application(_scope(method, path, given), receive, send))
        try:
            yield heard
        finally:
            gone.set()
            async with asyncio.timeout(WAIT):
                await task


@pytest.fixture
def relay(gateway: GatewayHarness, upstream: Upstream, owner: Caller) -> RelayClient:
    """A client with every scope."""
    return RelayClient(owner)


async def ledger() -> list[LedgerEntry]:
    """Writes the calls that are still gathered and returns all ledger entries."""
    await METER.flush()
    return await database.run(lambda: list(LedgerEntry.objects.order_by("id")))
