"""A model that its provider knows under another name: only requests to the provider have that name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from inference_app.catalogue.config import MODELS, models_config
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.clients import build_model, close_clients
from tests.agents.conftest import Upstream
from tests.faces.inference.conftest import RelayClient, ledger

CONFIG = """
models:
  providers:
    azure: {{base_url: "{url}", api_key: none, models: [{{id: gpt-4o, deployment: hello}}]}}
    claude: {{base_url: "{root}", api_key: none, wire: anthropic, models: [{{id: gpt-4o, deployment: hello}}]}}
    gpt: {{base_url: "{url}", api_key: none, wire: openai-responses, models: [{{id: gpt-4o, deployment: hello}}]}}
"""


@pytest_asyncio.fixture(autouse=True)
async def _close_connections() -> AsyncIterator[None]:
    yield
    await close_clients()


@pytest.fixture(autouse=True)
def _configure_deployments(upstream: Upstream, settings: Any) -> None:
    root = upstream.url.removesuffix("/v1")
    Path(settings.GATEWAY_CONFIG).write_text(CONFIG.format(url=upstream.url, root=root))
    MODELS.forget()


@pytest.mark.parametrize("provider", ["azure", "claude", "gpt"])
async def test_the_provider_is_asked_by_its_own_name(relay: RelayClient, upstream: Upstream, provider: str) -> None:
    heard = await relay.chat(f"{provider}/gpt-4o")
    assert heard.json["choices"][0]["message"]["content"] == "Hello, world."
    assert heard.headers["x-gateway-model"] == "gpt-4o"
    assert [request["model"] for request in upstream.requests()] == ["hello"]


async def test_it_is_counted_and_priced_as_the_model_that_it_is(relay: RelayClient) -> None:
    await relay.chat("azure/gpt-4o")
    (entry,) = await ledger()
    assert entry.model == "azure:gpt-4o"
    # The public list's price of Azure's gpt-4o.
    assert entry.cost_usd


@pytest.mark.parametrize("provider", ["azure", "claude", "gpt"])
async def test_agents_ask_by_it_too(upstream: Upstream, provider: str) -> None:
    from pydantic_ai.direct import model_request_stream
    from pydantic_ai.messages import ModelRequest

    built = await build_model(Candidate(provider, "gpt-4o"), models_config().providers[provider])
    assert built.model.model_name == "gpt-4o"
    async with model_request_stream(built.model, [ModelRequest.user_text_prompt("Hi")]) as stream:
        async for _ in stream:
            pass
    assert [request["model"] for request in upstream.requests()] == ["hello"]
