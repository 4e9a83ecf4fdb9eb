"""The gateway in a process of its own, with a provider that speaks only chat completions and one of every wire."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.agents.conftest import ROOT, Upstream
from tests.api.served import Served, gateway_served
from tests.tools.scripted_mcp import ScriptedMcp, text, tool

CONFIG = """
models:
  providers:
    plain: {{base_url: "{plain}", api_key: none}}
    everything: {{base_url: "{everything}", api_key: none, also: [openai-responses, anthropic]}}
    claude:
      base_url: "{root}"
      api_key: none
      wire: anthropic
      models: [{{id: hello, capabilities: [text, tools]}}]
    gpt: {{base_url: "{everything}", api_key: none, wire: openai-responses}}
    closed: {{base_url: "http://127.0.0.1:9/v1", api_key: none}}
  model_aliases:
    gpt-5.5: "plain:assistant"
    gpt-5.6-sol: "plain:assistant"
    failing-over: [{{model: "closed:hello", weight: 1000000}}, {{model: "plain:hello", weight: 0}}]
  defaults:
    retry: {{max_retries: 0, base_delay_ms: 0, max_delay_ms: 1000}}
    circuit_breaker: {{failure_threshold: 1000}}
    rate_limit:
      "/v1/responses": {{rpm: 0, enabled: false}}
      "/v1/messages": {{rpm: 0, enabled: false}}
      "/v1/chat/completions": {{rpm: 0, enabled: false}}
"""

SIGNED_CONFIG = """
models:
  providers:
    gemini: {{base_url: "{root}/gemini/v1", api_key: none}}
    deepseek: {{base_url: "{root}/v1", api_key: none}}
    anthropic: {{base_url: "{root}", api_key: none}}
    openai: {{base_url: "{root}/v1", api_key: none, wire: openai-responses, also: []}}
  defaults:
    retry: {{max_retries: 0, base_delay_ms: 0, max_delay_ms: 1000}}
    circuit_breaker: {{failure_threshold: 1000}}
"""


def start_upstream(module: str) -> Iterator[Upstream]:
    command = [sys.executable, "-m", module, "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Upstream(int(process.stdout.readline()))
        process.kill()


@pytest.fixture(scope="session")
def plain_process() -> Iterator[Upstream]:
    yield from start_upstream("tests.faces.responses.upstream")


@pytest.fixture(scope="session")
def everything_process() -> Iterator[Upstream]:
    yield from start_upstream("tests.faces.inference.upstream")


@pytest.fixture(scope="session")
def gateway(
    plain_process: Upstream, everything_process: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    directory = tmp_path_factory.mktemp("responses")
    config = directory / "gateway.yaml"
    root = everything_process.url.removesuffix("/v1")
    config.write_text(CONFIG.format(plain=plain_process.url, everything=everything_process.url, root=root))
    (directory / "data").mkdir()
    with gateway_served(directory / "data", CONFIG=str(config)) as gateway:
        yield gateway


@pytest.fixture
def plain(plain_process: Upstream) -> Upstream:
    """The provider that speaks only chat, without recorded requests."""
    plain_process.reset()
    return plain_process


@pytest.fixture
def everything(everything_process: Upstream) -> Upstream:
    """The provider that speaks every wire, without recorded requests."""
    everything_process.reset()
    return everything_process


@pytest.fixture(scope="session")
def demanding_process() -> Iterator[Upstream]:
    yield from start_upstream("tests.faces.responses.demanding")


@pytest.fixture
def demanding(demanding_process: Upstream) -> Upstream:
    """The provider that demands its signatures back, without recorded requests."""
    demanding_process.reset()
    return demanding_process


@pytest.fixture(scope="session")
def signed_gateway(demanding_process: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A gateway whose shipped providers are the demanding one."""
    directory = tmp_path_factory.mktemp("signed")
    config = directory / "gateway.yaml"
    config.write_text(SIGNED_CONFIG.format(root=demanding_process.url.removesuffix("/v1")))
    (directory / "data").mkdir()
    with gateway_served(directory / "data", CONFIG=str(config)) as gateway:
        yield gateway


@pytest.fixture
def openai_client(gateway: Served) -> Iterator[Any]:
    """OpenAI's own client, with the gateway's address and a key."""
    import openai

    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=gateway.keys["owner"], max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(gateway: Served) -> Iterator[Any]:
    """Anthropic's own client, with the gateway's address and a key."""
    import anthropic

    with anthropic.Anthropic(base_url=gateway.url, api_key=gateway.keys["owner"], max_retries=0) as client:
        yield client


@pytest.fixture
def echo(gateway: Served) -> Iterator[str]:
    """The label of a server that the tenant has registered; its tool echoes."""
    server = ScriptedMcp().start()
    server.tools = [tool("echo")]
    server.results = {"echo": lambda params: text(f"echoed {params['arguments'].get('x')}")}
    with gateway.client() as http:
        answer = http.post("/v1/mcp-servers", json={"name": "parrot", "url": server.url})
        assert answer.status_code == 201, answer.text
        # The library loads at the first use; a busy machine takes its time.
        assert http.post("/v1/mcp-servers/parrot/test").status_code == 200
        yield "parrot"
        http.delete("/v1/mcp-servers/parrot")
    server.stop()
