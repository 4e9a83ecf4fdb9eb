"""The five rules from a public name to its candidates."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_app.catalogue.access import TenantAccess, access_replace, candidates_allowed
from inference_app.catalogue.config import ModelsConfig, parse
from inference_app.catalogue.reported import OTHER, ReportedModels
from inference_app.catalogue.resolution import Candidate, default_candidate, model_candidates, provider_of


def local(*models: str, **fields: Any) -> dict[str, Any]:
    return {"base_url": "http://127.0.0.1:1/v1", "api_key": "none", "models": list(models), **fields}


def config_of(**fields: Any) -> ModelsConfig:
    base = {
        "providers": {"one": local("alpha", "shared"), "two": local("shared", default_model="beta"), "three": local()},
        "fallback_chain": ["three", "two"],
    }
    return parse(base | fields)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: Any) -> None:
    for name in ("OPENAI", "ANTHROPIC", "DEEPSEEK", "OPENROUTER", "GEMINI"):
        monkeypatch.delenv(f"{name}_API_KEY", raising=False)


def names(config: ModelsConfig, name: str, **options: Any) -> list[str]:
    return [candidate.name for candidate in model_candidates(config, name, **options).candidates]


def test_an_alias_comes_before_everything_else() -> None:
    config = config_of(model_aliases={"alpha": "two:shared"})
    assert names(config, "alpha") == ["two:shared"]


def test_an_alias_to_a_list_is_tried_from_the_heaviest_on() -> None:
    config = config_of(model_aliases={"a": [{"model": "one:x"}, {"model": "two:y", "weight": 5}]})
    assert names(config, "a") == ["two:y", "one:x"]


def test_chance_shares_an_alias_by_weight() -> None:
    config = config_of(model_aliases={"a": [{"model": "one:x", "weight": 1}, {"model": "two:y", "weight": 3}]})
    draws = [(i + 0.5) / 20 for i in range(20)]
    firsts = [names(config, "a", draw=iter(pair).__next__)[0] for pair in ((a, b) for a in draws for b in draws)]
    assert 0.7 < firsts.count("two:y") / len(firsts) < 0.8


def test_a_target_of_no_weight_comes_last() -> None:
    config = config_of(model_aliases={"a": [{"model": "one:x", "weight": 0}, {"model": "two:y"}]})
    assert names(config, "a", draw=lambda: 0.5) == ["two:y", "one:x"]


@pytest.mark.parametrize("separator", [":", "/"])
def test_a_provider_may_be_named_outright_with_a_model_it_does_not_list(separator: str) -> None:
    assert names(config_of(), f"one{separator}vendor/new:latest") == ["one:vendor/new:latest"]


def test_a_listed_name_is_never_split() -> None:
    router = local("openai/gpt-x", "mistral:7b", "two/shared", "one:alpha:free")
    config = config_of(providers={"one": local("alpha"), "two": local("shared"), "router": router}, fallback_chain=[])
    for name in ("openai/gpt-x", "mistral:7b", "two/shared", "one:alpha:free"):
        assert names(config, name) == [f"router:{name}"]
    assert names(config, "one:alpha") == ["one:alpha"]
    assert names(config, "router:openai/gpt-x") == ["router:openai/gpt-x"]
    assert names(config, "router/mistral:7b") == ["router:mistral:7b"]


def test_a_listed_name_whose_provider_has_no_key_may_name_another_provider_outright() -> None:
    keyless = {"base_url": "http://127.0.0.1:1/v1", "api_key_env": "NO_SUCH_KEY", "models": ["one/alpha"]}
    config = config_of(providers={"one": local("alpha"), "router": keyless}, fallback_chain=[])
    assert names(config, "one/alpha") == ["one:alpha"]


@pytest.mark.parametrize("name", ["qwen3:14b", "vendor/model", "one", "one:", ":x", ""])
def test_what_stands_before_the_separator_is_a_provider_only_when_it_is_known(name: str) -> None:
    assert provider_of(config_of(), name) is None


def test_the_longest_prefix_of_the_routing_wins() -> None:
    config = config_of(model_routing={"zeta": ["one"], "zeta-large": ["two", "three"]})
    assert names(config, "zeta-small") == ["one:zeta-small"]
    assert names(config, "zeta-large-2") == ["two:zeta-large-2", "three:zeta-large-2"]


def test_routing_comes_before_listing() -> None:
    assert names(config_of(model_routing={"shared": ["three"]}), "shared") == ["three:shared"]


def test_every_provider_that_lists_a_model_is_a_candidate() -> None:
    assert names(config_of(), "shared") == ["one:shared", "two:shared"]


def test_a_substitute_is_found_only_where_it_is_allowed() -> None:
    assert names(config_of(), "nobody-has-it") == []
    resolution = model_candidates(config_of(), "nobody-has-it", substitution=True)
    assert resolution.candidates == (Candidate("two", "beta"),)
    assert resolution.substituted


def test_a_local_provider_that_nobody_spoke_of_is_no_substitute() -> None:
    def substitutes(**fields: Any) -> list[str]:
        return names(parse(fields), "nobody-has-it", substitution=True)

    assert substitutes() == []
    assert substitutes(fallback_chain=["ollama"]) == ["ollama:llama3.2"]
    assert substitutes(providers={"ollama": {"default_model": "phi"}}) == ["ollama:phi"]


def test_a_name_that_is_served_is_never_substituted() -> None:
    assert not model_candidates(config_of(), "alpha", substitution=True).substituted


def test_a_provider_without_its_key_is_skipped_and_named(monkeypatch: Any) -> None:
    resolution = model_candidates(config_of(), "gpt-4o")
    assert (resolution.candidates, resolution.keyless) == ((), ("openai", "openrouter"))
    monkeypatch.setenv("OPENROUTER_API_KEY", "k")
    assert names(config_of(), "gpt-4o") == ["openrouter:openai/gpt-4o"]
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert names(config_of(), "gpt-4o") == ["openai:gpt-4o", "openrouter:openai/gpt-4o"]


def test_a_route_without_keys_gives_way_to_a_provider_that_lists_the_model() -> None:
    config = config_of(providers={"one": local("gpt-oss")}, fallback_chain=[])
    assert names(config, "gpt-oss") == ["one:gpt-oss"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("claude-x", ["anthropic", "openrouter"]),
        ("gemini-x", ["gemini", "openrouter"]),
        ("o1-mini", ["openai", "openrouter"]),
        ("deepseek-chat", ["deepseek"]),
    ],
)
def test_the_shipped_routing_is_the_documented_one(monkeypatch: Any, name: str, expected: list[str]) -> None:
    for provider in ("OPENAI", "ANTHROPIC", "DEEPSEEK", "OPENROUTER", "GEMINI"):
        monkeypatch.setenv(f"{provider}_API_KEY", "k")
    assert [candidate.provider for candidate in model_candidates(parse(None), name).candidates] == expected


@pytest.mark.parametrize("name", ["qwen3:14b", "codestral", "llama3.2"])
def test_the_local_families_go_to_ollama(name: str) -> None:
    assert names(parse(None), name) == [f"ollama:{name}"]


def test_the_configured_default_wins_when_it_can_be_served(monkeypatch: Any) -> None:
    assert default_candidate(config_of(default_model="alpha")) == "alpha"
    assert default_candidate(config_of(default_model="gpt-4o")) == "demo:tour"
    monkeypatch.setenv("ANTHROPIC_API_KEY", "k")
    assert default_candidate(config_of(default_model="gpt-4o")).startswith("anthropic:")


@given(st.text(max_size=40), st.booleans())
def test_any_name_at_all_has_an_answer(name: str, substitution: bool) -> None:
    config = parse(None)
    for candidate in model_candidates(config, name, substitution=substitution).candidates:
        assert config.providers[candidate.provider].usable


@pytest.mark.parametrize(
    ("patterns", "served"),
    [
        (("gpt-*",), []),  # the name that was asked for; the tenant chooses it
        (("two:*",), ["two:beta"]),
        (("beta",), ["two:beta"]),
        ((), ["two:beta"]),
    ],
)
def test_a_substitute_has_to_be_allowed_by_a_name_of_its_own(patterns: tuple[str, ...], served: list[str]) -> None:
    resolution = model_candidates(config_of(), "gpt-unknown", substitution=True)
    assert resolution.substituted
    access_replace({7: TenantAccess(patterns, True)})
    try:
        assert [candidate.name for candidate in candidates_allowed(7, resolution, "gpt-unknown")] == served
    finally:
        access_replace({})


def test_only_configured_models_are_reported_by_name() -> None:
    config = config_of(
        model_aliases={"fast": [{"model": "three:quick"}, {"model": "shared"}]}, default_model="three:usual"
    )
    reported = ReportedModels()
    configured = ("one:alpha", "one:shared", "two:beta", "two:shared", "three:quick", "three:usual", "demo:tour")
    for name in configured:
        assert reported.name(config, name) == name
        provider, _, model = name.partition(":")
        assert name == "demo:tour" or reported.model(config, Candidate(provider, model)) == model
    for name in ("one:anything", "three:alpha", "nobody:alpha", "alpha", ""):
        assert reported.name(config, name) == OTHER
    assert reported.model(config, Candidate("three", "zz1")) == OTHER
    assert reported.model(config_of(model_aliases={"fast": "three:zz1"}), Candidate("three", "zz1")) == "zz1"
