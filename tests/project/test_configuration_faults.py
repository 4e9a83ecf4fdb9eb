"""Each mistake in the configuration file is a sentence that says where it is, what is wrong and what to write."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from core_app import config_file
from core_app.config_file import ConfigurationError, dangling_references, section_paths, sections_load
from gateway_project.configuration.startup_file import configuration_check
from gateway_project.observability import logs
from gateway_project.operations.configuration_checks import check_references
from gateway_project.process.configuration_watch import ConfigurationWatch
from inference_app.catalogue.config import MODELS

MINE = 'models: {{providers: {{mine: {{base_url: "http://x", {}}}}}}}'
OF_LIBRARIES = ("input should", "extra inputs", "instance of", "pydantic", "scanner", "any token", "constructor")
"""Words that are no operator's."""


@pytest.fixture
def file(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file of the test's own, looked at whenever it is asked for."""
    monkeypatch.setattr(config_file, "CHECK_SECONDS", 0.0)
    path = tmp_path / "gateway.yaml"
    settings.GATEWAY_CONFIG = path
    return path


def write(path: Path, text: str) -> None:
    """Writes so that the change is noticed however coarse the clock of the file system is."""
    before = path.stat().st_mtime_ns if path.exists() else 0
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(before + 10**9, before + 10**9))


FAULTS = [
    ("models: {providers: {openai: {api_key: sk-12345678}}}", "models.providers.openai.api_key takes no key itself"),
    (MINE.format("api_key_env: sk-12345678"), "mine.api_key_env takes the name of a variable, and has what looks like"),
    (MINE.format('api_key_env: "${X}"'), "mine.api_key_env takes the name of a variable alone, such as DEEPSEEK_API"),
    ("models:\n\tproviders: {}", "at line 2, column 1: a tab is not allowed here; indent with spaces."),
    ("models:\n    a: 1\n  b: 2", "at line 3, column 3: the indentation does not match the lines above."),
    ("models: {providers: {", "a bracket is not closed."),
    ("models: a: b", "a ':' is not expected here"),
    ('models: "abc', "the file ends inside a quoted text."),
    ("models: *x", "a '*name' refers to no '&name' before it"),
    ("models: !!python/object:os.system", "a value begins with '!'"),
    ("models: \x00", "it contains a control character."),
    (
        MINE.format("base_ulr: y, api_key: none"),
        "models.providers.mine.base_ulr is not a field. Did you mean base_url?",
    ),
    (MINE.format("baseUrl: y, api_key: none"), "models.providers.mine.baseUrl is not a field. Did you mean base_url?"),
    ("models: {providers: {mine: {api_key: none}}}", "models.providers.mine has no base_url, such as https://"),
    (MINE.format(""), "models.providers.mine has no key: name its variable in api_key_env"),
    ("models: {providers: [{name: mine}]}", "models.providers must be a mapping of names to entries."),
    ("models: {providers: {mine: 5}}", "models.providers.mine must be fields such as {base_url:"),
    (
        MINE.format('api_key: none, models: [{id: a, price: "0.5"}]'),
        "mine.models.0.price must be US dollars per million tokens, such as {input: 0.5, output: 1.5}.",
    ),
    (MINE.format("api_key: none, timeout: 60s"), "mine.timeout must be a number of seconds, or {connect: 5"),
    (MINE.format("api_key: none, wire: soap"), "mine.wire must be 'openai-chat', 'openai-responses', 'anthropic' or"),
    (MINE.format("api_key: none, models: [{id: a, capabilities: [fly]}]"), "capabilities.0 must be 'text', 'tools'"),
    ("models: {default_model: 5}", "models.default_model must be text; put a number, yes, no, on and off into quotes."),
    ("models: {defaults: {retry: {max_retries: -1}}}", "models.defaults.retry.max_retries must be at least 0."),
    ("models: {fallback_chain: [opnai]}", "the provider 'opnai' in fallback_chain, which is not configured. Did you"),
    ("models: 5", "models must be a mapping of fields."),
    ("providers: {}", "'providers' belongs under 'models:'"),
    ("model_list: [{model_name: x}]", "'model_list' is a section of LiteLLM."),
    ("modles: {}", "'modles' is not a section. Did you mean models?"),
    ("models: {}\nmodels: {}", "'models' stands twice, at line 1 and at line 2."),
    ("- a list", "must be a mapping at its top level"),
    ("agents: [{id: a, type: model}, {id: a, type: model}]", "agents has the id 'a' twice."),
    ("agents: [{id: a, type: http, endpont: x}]", "'endpont', which type 'http' does not read. Did you mean endpoint?"),
    ("agents: {id: a}", "agents must be a list."),
    ("agents: [{id: a}]", "agents.0.type is missing."),
    ("tools: {builtin: []}", "tools.builtin of GATEWAY_CONFIG is not a field. Did you mean builtins?"),
    ("mcp: {a: {comand: [x]}}", "mcp.a.comand of GATEWAY_CONFIG is not a field. Did you mean command?"),
    ("routing: {rule: []}", "routing.rule is not a field. Did you mean rules?"),
    ("spaces: {embedding: x}", "spaces.embedding is not a field. Did you mean embedding_model?"),
]


@pytest.mark.parametrize(("text", "said"), FAULTS)
def test_a_mistake_is_a_sentence_of_the_gateways_own(file: Path, text: str, said: str) -> None:
    write(file, text)
    with pytest.raises(ConfigurationError) as raised:
        sections_load()
    sentence = str(raised.value)
    assert said in sentence
    assert "GATEWAY_CONFIG" in sentence or sentence.startswith("gateway.yaml")
    assert sentence.endswith((".", "?"))
    assert not [word for word in OF_LIBRARIES if word in sentence.lower()]
    assert "sk-12345678" not in sentence
    # What is logged has a redaction over it, which eats what follows `api_key:`.
    assert logs.REDACTED not in logs.redact(sentence)


def test_a_place_for_anchors_is_no_unknown_section(file: Path) -> None:
    write(file, "x-price: &price {input: 1, output: 2}\nmodels: {default_model: demo:tour}")
    sections_load()
    assert set(section_paths()) == {"models", "agents", "tools", "mcp", "routing", "spaces"}


DANGLING = [
    ("models: {model_aliases: {fast: nosuch}}", "models.model_aliases.fast leads to 'nosuch', which no provider has"),
    (
        "models: {model_aliases: {fast: deepseek-chat, faster: fast}}",
        "models.model_aliases.faster leads to 'fast', which is an alias itself",
    ),
    ("models: {default_model: nosuch}", "models.default_model is 'nosuch', which no provider has"),
    ("agents: [{id: a, type: codex}]", "agents.a has the type 'codex', which is not here."),
    ("agents: [{id: a, type: model, model: nosuch}]", "agents.a names the model 'nosuch', which no provider has"),
    (
        "agents: [{id: a, type: model, tools: [current_tiem]}]",
        "agents.a names the tool 'current_tiem', which is not here. Did you mean current_time?",
    ),
    ("spaces: {embedding_model: nosuch}", "spaces.embedding_model is 'nosuch', which no provider has"),
]


@pytest.mark.parametrize(("text", "said"), DANGLING)
def test_a_reference_to_nothing_is_found_by_the_start_and_by_doctor(
    file: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    write(file, text)
    assert [sentence for sentence in dangling_references() if said in sentence]
    level, found = check_references()
    assert (level, said in found) == ("wrong", True)
    monkeypatch.setattr("gateway_project.configuration.startup_file.overlay_read", lambda: None)
    with caplog.at_level(logging.WARNING, logger="gateway.configuration"):
        configuration_check()
    assert [record.msg for record in caplog.records if record.name == "gateway.configuration"]


def test_references_that_lead_somewhere_are_no_fault(file: Path) -> None:
    write(
        file,
        "models: {model_aliases: {fast: 'deepseek:any', small: gpt-4o}, default_model: fast}\n"
        "agents: [{id: a, type: model, model: small, tools: [ask_user]}, {id: b, type: gone, enabled: false}]",
    )
    assert dangling_references() == []
    assert check_references()[0] == "ok"


def test_a_broken_file_stops_the_start(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway_project.configuration.startup_file.overlay_read", lambda: None)
    write(file, "routing: {rule: []}")
    with pytest.raises(ImproperlyConfigured, match=r"GATEWAY_CONFIG: gateway\.yaml: routing\.rule is not a field"):
        configuration_check()


async def test_a_change_is_read_and_logged_without_a_request(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(file, "models: {default_model: demo:tour}")
    watch = ConfigurationWatch()
    await watch.look()
    assert MODELS.get().default_model == "demo:tour"
    caplog.set_level(logging.INFO)
    write(file, "models: {default_model: nosuch}")
    await watch.look()
    events = [record.msg for record in caplog.records if isinstance(record.msg, dict)]
    assert [(line["event"], line.get("section")) for line in events] == [
        ("configuration_reloaded", "models"),
        ("configuration_reference_missing", None),
    ]
    write(file, "models: {default_modle: x}")
    await watch.look()
    last = [record.msg for record in caplog.records if isinstance(record.msg, dict)][-1]
    assert last["event"] == "configuration_rejected"
    assert MODELS.get().default_model == "nosuch"
