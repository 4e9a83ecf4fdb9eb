"""A real gateway process in front of the scripted upstream, for clients that speak HTTP themselves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.agents.conftest import Upstream
from tests.stack.conftest import deployment_of
from tests.stack.process import GatewayProcess

CONFIG = """
models:
  providers:
    chat: {{base_url: "{url}", api_key: none, models: [hello, {{id: priced, price: {{input: 1, output: 2}}}}]}}
    messages: {{base_url: "{root}", api_key: none, wire: anthropic, models: [claude-hello]}}
    everything: {{base_url: "{url}", api_key: none, also: [openai-responses, anthropic]}}
  model_aliases:
    hello: "chat:hello"
    flaky-first: [{{model: "chat:status:503", weight: 1000000}}, {{model: "everything:hello", weight: 0}}]
  defaults:
    retry: {{max_retries: 1, base_delay_ms: 0, max_delay_ms: 1000}}
    rate_limit:
      /v1/chat/completions: {{rpm: 60000}}
      /v1/messages: {{rpm: 60000}}
      /v1/embeddings: {{rpm: 60000}}
      /v1/responses: {{rpm: 60000}}
"""


def config_write(directory: Path, upstream: Upstream) -> Path:
    """Writes the configuration of a gateway process and returns its path."""
    path = directory / "gateway.yaml"
    path.write_text(CONFIG.format(url=upstream.url, root=upstream.url.removesuffix("/v1")))
    return path


@contextmanager
def serve_gateway(directory: Path, upstream: Upstream, count: int = 1) -> Iterator[list[GatewayProcess]]:
    """Runs `count` gateway processes that share one state, until the end of the block."""
    data = directory / "data"
    data.mkdir()
    with ExitStack() as stack:
        deployment = deployment_of(data, stack, CONFIG=str(config_write(directory, upstream)))
        processes = [GatewayProcess(deployment, f"relay{number}") for number in range(count)]
        for process in processes:
            stack.callback(process.end)
            asyncio.run(process.start())
        yield processes
