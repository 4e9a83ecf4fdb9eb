"""The scripted upstream in a process of its own, and a configuration with it as a provider."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from core_app.lifecycle import reset_process_wide
from inference_app.providers.upstreams import UPSTREAMS

pytest.register_assert_rewrite("tests.agents.engine_contract")

ROOT = Path(__file__).resolve().parents[2]

CONFIG = """
models:
  providers:
    scripted:
      base_url: "{url}"
      api_key: none
      headers: {{X-Team: tests}}
      default_model: hello
      models:
        - {{id: hello, price: {{input: 1000000, output: 2000000, cached: 0}}}}
        - {{id: blind, capabilities: [text]}}
        - {{id: small, context_window: 100}}
    messages: {{base_url: "{root}", api_key: none, wire: anthropic}}
    responses: {{base_url: "{url}", api_key: none, wire: openai-responses}}
    hasty: {{base_url: "{url}", api_key: none, timeout: 0.4}}
    keyed: {{base_url: "{url}", api_key_env: TEST_UPSTREAM_KEY}}
    closed: {{base_url: "http://127.0.0.1:9/v1", api_key: none}}
  fallback_chain: [scripted]
  model_aliases:
    resilient: [{{model: "scripted:status:500", weight: 2}}, {{model: "scripted:hello"}}]
    hopeless: [{{model: "scripted:status:401", weight: 2}}, {{model: "scripted:hello"}}]
    either: [{{model: "scripted:drop:1", weight: 2}}, {{model: "scripted:hello"}}]
  defaults: {{retry: {{max_retries: 2, base_delay_ms: 0, max_delay_ms: 0}}}}
agents:
  - {{id: helper, name: Helper, type: model, model: "scripted:hello"}}
  - {{id: coder, name: Coder, type: unheard-of, command: coder}}
  - {{id: lost, type: model, model: "openai:gpt-4o"}}
"""


class Upstream:
    """The running upstream: its address, its requests, and a reset."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}/v1"

    def requests(self) -> list[dict[str, Any]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/requests", timeout=60) as answer:
            received: list[dict[str, Any]] = json.load(answer)
        return received

    def open_streams(self) -> int:
        """Returns the number of streams in progress."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/open", timeout=60) as answer:
            return int(answer.read())

    def reset(self) -> None:
        urllib.request.urlopen(f"http://127.0.0.1:{self.port}/reset", timeout=60).close()


@pytest.fixture(scope="session")
def upstream_process() -> Iterator[Upstream]:
    command = [sys.executable, "-m", "tests.agents.upstream", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Upstream(int(process.stdout.readline()))
        process.kill()


@pytest_asyncio.fixture(autouse=True)
async def connections_closed() -> AsyncIterator[None]:
    """Closes connections after each test, since each has an event loop of its own."""
    yield
    await UPSTREAMS.stop()


@pytest.fixture
def upstream(upstream_process: Upstream, settings: Any, tmp_path: Path, monkeypatch: Any) -> Iterator[Upstream]:
    """Configures the upstream as the provider `scripted`. No other provider has a key."""
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "DEEPSEEK_API_KEY", "OPENROUTER_API_KEY", "TEST_UPSTREAM_KEY"):
        monkeypatch.delenv(name, raising=False)
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG.format(url=upstream_process.url, root=upstream_process.url.removesuffix("/v1")))
    settings.GATEWAY_CONFIG = path
    upstream_process.reset()
    reset_process_wide()
    yield upstream_process
    reset_process_wide()
