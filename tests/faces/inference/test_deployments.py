"""A model that its provider knows under another name: only requests to the provider have that name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agents_app.engine import Finished
from agents_app.registry import engine_get
from inference_app.catalogue.config import MODELS
from tests.agents.conftest import Upstream
from tests.agents.recording_leg import World, session_of
from tests.faces.inference.conftest import RelayClient, ledger

CONFIG = """
models:
  providers:
    azure: {{base_url: "{url}", api_key: none, models: [{{id: gpt-4o, deployment: hello}}]}}
    claude: {{base_url: "{root}", api_key: none, wire: anthropic, models: [{{id: gpt-4o, deployment: hello}}]}}
    gpt: {{base_url: "{url}", api_key: none, wire: openai-responses, models: [{{id: gpt-4o, deployment: hello}}]}}
"""


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
    world = World(session_of(f"{provider}:gpt-4o"))
    world.prompt("Hi")
    assert await engine_get("model").run_leg(world.leg()) == Finished("Hello, world.")
    assert [usage.model for usage in world.usage] == [f"{provider}:gpt-4o"]
    assert [request["model"] for request in upstream.requests()] == ["hello"]
