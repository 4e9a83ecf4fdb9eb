"""No body of a client makes a process large, whatever is in it and on whichever path it comes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from inference_app.conversion import validation
from tests.stack.client import Client
from tests.stack.deployment import KEY, Deployment
from tests.stack.hostile_bodies import MEBIBYTE, SHAPES, Wire
from tests.stack.process import ROOT, GatewayProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the peak of a process's memory is read from /proc")

MAX_RESIDENT_MEBIBYTES = 400
LARGEST, CONVERTED = 64 * MEBIBYTE, validation.MAX_BYTES
CONFIG = """
models:
  providers:
    chat: {{base_url: "{url}/v1", api_key: none}}
    messages: {{base_url: "{url}", api_key: none, wire: anthropic}}
    responses: {{base_url: "{url}/v1", api_key: none, wire: openai-responses}}
  defaults:
    rate_limit: {{{limits}}}
"""
PATHS = ("chat/completions", "embeddings", "responses", "messages", "messages/count_tokens")


def relayed(path: str, provider: str, size: int, **more: Any) -> Wire:
    field = {"responses": b'"input":', "embeddings": b'"input":'}.get(path, b'"messages":')
    return Wire(f"/v1/{path}", f'"model":"{provider}:m","max_tokens":1'.encode(), size, field, **more)


FILTERED = ("unsigned thinking", "an endless name within", "a text with an emoji", "a half character")
WIRES = {
    "relayed as they are": [relayed("chat/completions", "chat", LARGEST, shapes=SHAPES)],
    "filtered": [
        relayed("messages", "messages", LARGEST, shapes=FILTERED),
        relayed("messages", "messages", CONVERTED, shapes=FILTERED),
        relayed("messages/count_tokens", "messages", LARGEST, shapes=FILTERED[:2]),
        relayed("responses", "responses", LARGEST, shapes=FILTERED[1:]),
        relayed("embeddings", "chat", LARGEST, shapes=("numbers", "a half character")),
    ],
    "converted": [
        relayed("chat/completions", "messages", CONVERTED),
        relayed("chat/completions", "responses", CONVERTED),
        relayed("messages", "chat", CONVERTED),
        relayed("responses", "chat", CONVERTED),
    ],
    "converted by way of chat": [
        relayed("messages", "responses", CONVERTED),
        relayed("responses", "messages", CONVERTED),
        relayed("messages/count_tokens", "chat", CONVERTED),
        relayed("messages/count_tokens", "chat", LARGEST, shapes=("a text",)),
    ],
    "native": [
        Wire("/v1/sessions/s/prompt", b'"text":"hello"', 27 * MEBIBYTE, b'"attachments":'),
        Wire("/v1/sessions", b'"title":"hello"', MEBIBYTE, b'"settings":', SHAPES),
        Wire("/v1/callbacks/0123456789abcdefghij", b'"error":0', MEBIBYTE, b'"result":', SHAPES),
    ],
}


@pytest.fixture(scope="module")
def provider() -> Iterator[str]:
    command = [sys.executable, "-m", "tests.benchmarks.sink_provider", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as sink:
        assert sink.stdout is not None
        yield f"http://127.0.0.1:{int(sink.stdout.readline())}"
        sink.kill()


@pytest.mark.parametrize("wires", WIRES.values(), ids=WIRES)
async def test_no_body_takes_more_memory_than_is_planned_for_it(
    deployment: Deployment,
    process: Callable[..., GatewayProcess],
    http: aiohttp.ClientSession,
    provider: str,
    wires: Sequence[Wire],
) -> None:
    limits = ", ".join(f'"/v1/{path}": {{rpm: 100000}}' for path in PATHS)
    config = deployment.directory / "gateway.yaml"
    config.write_text(CONFIG.format(url=provider, limits=limits), encoding="utf-8")
    deployment.settings.update(CONFIG=str(config), RATE_LIMIT_RPM="0", LOG_LEVEL="ERROR")
    server = process()
    await server.start()
    await Client(http, server.url).create("s")
    headers = {"X-API-Key": KEY, "Content-Type": "application/json"}
    too_large = {}
    for wire in wires:
        for name, body in wire.bodies():
            peak_forget(server.pid)
            async with http.post(server.url + wire.path, data=BytesIO(body), headers=headers) as response:
                status, text = response.status, await response.text()
            assert status < 500, (wire.path, name, status, text)
            if (peak := peak_mebibytes(server.pid)) > MAX_RESIDENT_MEBIBYTES:
                too_large[wire.path, name] = peak
    assert too_large == {}


def peak_forget(pid: int) -> None:
    """Makes the present resident memory the peak."""
    Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")


def peak_mebibytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) // 1024
