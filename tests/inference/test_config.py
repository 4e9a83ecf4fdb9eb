"""The section `models:`: what is shipped, what may be changed, and what is refused in which words."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from core_app import config_file
from core_app.config_faults import fault_parts
from core_app.config_file import ConfigurationError
from inference_app.catalogue.config import MODELS, models_config, parse

SHIPPED = {
    "openai", "anthropic", "deepseek", "qwen", "openrouter", "gemini", "mistral", "groq", "xai", "together", "azure",
    "ollama", "vllm", "lmstudio", "demo",
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, settings: Any, monkeypatch: Any) -> Iterator[Path]:
    """A configuration file of the test's own, looked at whenever it is asked for."""
    monkeypatch.setattr(config_file, "CHECK_SECONDS", 0.0)
    path = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG = path
    MODELS.forget()
    yield path
    MODELS.forget()


def write(path: Path, text: str) -> None:
    """Writes so that the change is noticed however coarse the clock of the file system is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text)
    os.utime(path, ns=(before + 10**9, before + 10**9))


def test_the_shipped_table_needs_no_file(file: Path) -> None:
    assert set(models_config().providers) == SHIPPED


def test_the_shipped_file_is_valid_and_changes_nothing(settings: Any) -> None:
    settings.GATEWAY_CONFIG = settings.BASE_DIR / "config" / "gateway.yaml"
    MODELS.forget()
    assert models_config() == parse(None)
    MODELS.forget()


def test_the_example_of_the_documentation_is_understood() -> None:
    config = parse(
        {
            "providers": {
                "deepseek": {
                    "base_url": "https://api.deepseek.com/v1",
                    "api_key_env": "DEEPSEEK_API_KEY",
                    "wire": "openai-chat",
                    "models": ["deepseek-chat", "deepseek-reasoner"],
                },
                "local": {
                    "base_url": "http://127.0.0.1:8000/v1",
                    "api_key": "none",
                    "models": [{"id": "qwen3", "context_window": 32768, "price": {"input": 0, "output": 0}}],
                },
            },
            "default_model": "deepseek-chat",
            "model_routing": {"deepseek": ["deepseek"], "qwen": ["local"]},
            "model_aliases": {"fast": "qwen3", "smart": [{"model": "deepseek-reasoner", "weight": 1}]},
            "fallback_chain": ["deepseek", "local"],
            "defaults": {
                "retry": {
                    "max_retries": 2,
                    "base_delay_ms": 500,
                    "max_delay_ms": 10000,
                    "retryable_statuses": [408, 409, 429, "5xx"],
                },
                "circuit_breaker": {"failure_threshold": 3, "reset_timeout_ms": 30000, "half_open_max_requests": 1},
                "rate_limit": {
                    "/v1/chat/completions": {"rpm": 60, "enabled": True},
                    "/v1/responses": {"rpm": 30, "enabled": True},
                },
            },
        }
    )
    assert config.providers["local"].wire == "openai-chat"
    entry = config.providers["local"].model("qwen3")
    assert entry is not None
    assert entry.context_window == 32768
    assert config.model_routing["gpt-"] == ("openai", "openrouter")
    assert [target.model for target in config.model_aliases["fast"]] == ["qwen3"]


def test_an_entry_of_a_known_name_changes_only_what_it_gives() -> None:
    config = parse({"providers": {"openai": {"base_url": "https://proxy.example/v1"}}})
    openai = config.providers["openai"]
    assert (openai.base_url, openai.api_key_env) == ("https://proxy.example/v1", "OPENAI_API_KEY")


@pytest.mark.parametrize("key", [{"api_key": "none"}, {"api_key": None}])
def test_a_provider_may_need_no_key(key: dict[str, Any]) -> None:
    assert parse({"providers": {"openai": key}}).providers["openai"].usable


def test_a_key_is_read_from_the_environment_when_it_is_needed(monkeypatch: Any) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    groq = parse(None).providers["groq"]
    assert not groq.usable
    monkeypatch.setenv("GROQ_API_KEY", "gsk")
    assert groq.key == "gsk"
    assert "gsk" not in repr(groq)


@pytest.mark.parametrize(
    ("section", "path"),
    [
        ({"providers": {"x": {"api_key": "none"}}}, "models.providers.x"),
        ({"providers": {"x": {"base_url": "http://x"}}}, "models.providers.x"),
        ({"providers": {"x": {"base_url": "http://x", "api_key": "sk-123"}}}, "models.providers.x.api_key"),
        ({"providers": {"x": {"base_url": "http://x", "api_key": "none", "wire": "soap"}}}, "models.providers.x.wire"),
        ({"providers": {"x": {"base_url": "http://x", "api_key": "none", "modls": []}}}, "models.providers.x.modls"),
        ({"providers": {"x": {"base_url": "http://x", "api_key": "none", "timeout": 0}}}, "models.providers.x.timeout"),
        ({"providers": {"X Y": {"base_url": "http://x", "api_key": "none"}}}, "models.providers.X Y"),
        ({"providers": {"x": 5}}, "models.providers.x"),
        ({"model_routing": {"a": ["nobody"]}}, "models"),
        ({"fallback_chain": ["nobody"]}, "models"),
        ({"defaults": {"retry": {"max_retries": -1}}}, "models.defaults.retry.max_retries"),
        ({"colour": "red"}, "models.colour"),
        ([1], "models"),
    ],
)
def test_a_fault_is_a_sentence_that_names_its_path(section: Any, path: str) -> None:
    with pytest.raises(ValidationError) as raised:
        parse(section)
    said = " ".join(fault_parts(raised.value, section="models"))
    assert said.startswith(path)
    assert said.endswith(".")
    assert "sk-123" not in said


def test_a_change_is_in_force_at_the_next_look(file: Path) -> None:
    write(file, "models: {default_model: one}")
    assert models_config().default_model == "one"
    write(file, "models: {default_model: two}")
    assert models_config().default_model == "two"


def test_an_unchanged_file_is_not_parsed_again(file: Path) -> None:
    write(file, "models: {default_model: one}")
    assert models_config() is models_config()


@pytest.mark.parametrize("broken", ["models: [", "models: {providers: {x: 5}}", "- a list", "models: \x00"])
def test_a_broken_file_keeps_what_was_in_force_and_says_so(file: Path, caplog: Any, broken: str) -> None:
    write(file, "models: {default_model: one}")
    assert models_config().default_model == "one"
    write(file, broken)
    with caplog.at_level(logging.ERROR, logger="core_app.config_file"):
        assert models_config().default_model == "one"
        assert models_config().default_model == "one"
    assert len([record for record in caplog.records if record.name == "core_app.config_file"]) == 1
    write(file, "models: {default_model: mended}")
    assert models_config().default_model == "mended"


def test_a_file_that_was_never_good_fails_loudly(file: Path) -> None:
    write(file, "models: {providers: {x: 5}}")
    with pytest.raises(ConfigurationError, match=r"gateway\.yaml: models\.providers\.x"):
        models_config()


def test_a_file_that_is_taken_away_leaves_what_is_shipped(file: Path) -> None:
    write(file, "models: {default_model: one}")
    assert models_config().default_model == "one"
    file.unlink()
    assert models_config().default_model is None
