"""Models are built from the configuration alone, and kept while it stays the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from inference_app.catalogue.config import ProviderEntry, parse
from inference_app.catalogue.resolution import Candidate
from inference_app.providers import clients
from inference_app.providers.clients import MAX_MODELS, build_model, close_clients, preload_models


@pytest_asyncio.fixture(autouse=True)
async def connections_closed() -> AsyncIterator[None]:
    yield
    await close_clients()


def entry(**fields: Any) -> ProviderEntry:
    given = {"base_url": "http://127.0.0.1:9/v1", "api_key": "none", **fields}
    return parse({"providers": {"p": given}}).providers["p"]


@pytest.mark.parametrize(
    ("wire", "kind"),
    [("openai-chat", "OpenAIChatModel"), ("openai-responses", "OpenAIResponsesModel"), ("anthropic", "AnthropicModel")],
)
async def test_each_wire_has_its_model(wire: str, kind: str) -> None:
    built = await build_model(Candidate("p", "some-model"), entry(wire=wire, headers={"X-Team": "a"}))
    assert type(built.model).__name__ == kind
    assert built.model.model_name == "some-model"
    client: Any = built.model.client  # type: ignore[attr-defined]
    assert str(client.base_url).rstrip("/") == "http://127.0.0.1:9/v1"
    assert client.max_retries == 0
    assert client.default_headers["X-Team"] == "a"


@pytest.mark.parametrize("wire", ["openai-chat", "openai-responses", "anthropic"])
async def test_the_operators_other_keys_and_addresses_are_never_taken(monkeypatch: Any, wire: str) -> None:
    for name in ("OPENAI", "ANTHROPIC"):
        monkeypatch.setenv(f"{name}_API_KEY", "sk-operator")
        monkeypatch.setenv(f"{name}_BASE_URL", "http://elsewhere.invalid")
    client: Any = (await build_model(Candidate("p", "m"), entry(wire=wire))).model.client  # type: ignore[attr-defined]
    assert client.api_key == "none"
    assert "elsewhere" not in str(client.base_url)


@pytest.mark.parametrize(
    "provider", ["openai", "deepseek", "qwen", "openrouter", "ollama", "vllm", "together", "azure", "groq"]
)
async def test_every_shipped_provider_can_be_built_for_any_model_name(monkeypatch: Any, provider: str) -> None:
    shipped = parse(None).providers[provider]
    if shipped.api_key_env:
        monkeypatch.setenv(shipped.api_key_env, "k")
    for name in ("some-model", "vendor/some-model", "gpt-4o", "", "🙂"):
        assert (await build_model(Candidate(provider, name), shipped)).model.model_name == name


async def test_a_model_is_built_once_and_shares_its_providers_connections() -> None:
    provider = entry()
    one, other = await build_model(Candidate("p", "a"), provider), await build_model(Candidate("p", "b"), provider)
    assert await build_model(Candidate("p", "a"), entry()) is one
    assert one.model.client is other.model.client  # type: ignore[attr-defined]


async def test_a_changed_key_or_address_holds_from_the_next_request(monkeypatch: Any) -> None:
    monkeypatch.setenv("P_KEY", "one")
    keyed = parse({"providers": {"p": {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "P_KEY"}}}).providers["p"]
    before = await build_model(Candidate("p", "a"), keyed)
    monkeypatch.setenv("P_KEY", "two")
    after = await build_model(Candidate("p", "a"), keyed)
    assert after.model.client.api_key == "two"  # type: ignore[attr-defined]
    assert after is not before
    moved = await build_model(Candidate("p", "a"), entry(base_url="http://127.0.0.1:10/v1"))
    assert "10" in str(moved.model.client.base_url)  # type: ignore[attr-defined]


async def test_names_that_clients_make_up_do_not_fill_the_memory() -> None:
    provider = entry()
    first = await build_model(Candidate("p", "first"), provider)
    for number in range(MAX_MODELS):
        await build_model(Candidate("p", f"m{number}"), provider)
    assert await build_model(Candidate("p", "first"), provider) is not first


@pytest.mark.parametrize(
    ("capabilities", "expected"), [(["text", "json_schema"], True), (["text"], False), (None, True)]
)
async def test_configured_capabilities_decide_how_an_answer_is_shaped(capabilities: Any, expected: bool) -> None:
    model = {"id": "m"} if capabilities is None else {"id": "m", "capabilities": capabilities}
    assert (await build_model(Candidate("p", "m"), entry(models=[model]))).json_schema is expected


async def test_deepseek_is_asked_for_json_in_the_way_it_knows(monkeypatch: Any) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "k")
    built = await build_model(Candidate("deepseek", "deepseek-chat"), parse(None).providers["deepseek"])
    assert built.json_schema is False
    assert built.model.profile.get("supports_json_object_output") is True


async def test_the_first_request_for_a_preloaded_provider_loads_nothing(monkeypatch: Any) -> None:
    """Loading a library holds up every other tenant of the process."""
    config = parse({
        "providers": {
            "p": {"base_url": "http://127.0.0.1:9/v1", "api_key": "none", "models": ["small", "large"]},
            "keyless": {"base_url": "http://127.0.0.1:9/v1", "api_key_env": "NOBODYS_KEY", "models": ["any"]},
        }
    })  # fmt: skip
    monkeypatch.setattr(clients, "models_config", lambda: config)
    await preload_models()

    def refuse(*_: Any) -> Any:
        raise AssertionError("a model was built for a request")

    monkeypatch.setattr(clients, "_build_in_pool", refuse)
    assert (await build_model(Candidate("p", "small"), config.providers["p"])).model.model_name == "small"
    with pytest.raises(AssertionError):
        await build_model(Candidate("keyless", "any"), config.providers["keyless"])
