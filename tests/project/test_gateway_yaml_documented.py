"""docs/gateway-yaml.md has every field of the configuration file with its default and an example that loads."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from django.conf import settings
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from agents_app.directory.entries import AgentEntry
from agents_app.programs.fields import ProgramFields
from core_app import config_file
from core_app.config_file import ConfigurationError, section_paths, sections_load
from faces.mesh.rules import RoutingEntry, RuleEntry
from faces.mesh.semantic import SpacesEntry
from inference_app.catalogue.config import (
    AliasTarget,
    BreakerPolicy,
    Defaults,
    ModelEntry,
    ModelsConfig,
    Price,
    ProviderEntry,
    RateLimit,
    RetryPolicy,
    Timeouts,
)
from inference_app.catalogue.limits import CallIdForm, Limits
from tools_app import operator_rules

PAGE = (settings.BASE_DIR / "docs/gateway-yaml.md").read_text(encoding="utf-8")
REQUIRED = object()


class Row(NamedTuple):
    field: str
    default: str
    example: str


def rows_of(text: str) -> list[Row]:
    """Returns the rows of a section's table. A cell's text may have a bar in a code span."""
    found = re.findall(r"^\| `(\w+)` \| .+? \| (`.*?`|required|none) \| .+ \| `(.+)` \|$", text, re.MULTILINE)
    assert len(found) == len(re.findall(r"^\| `", text, re.MULTILINE))
    return [Row(*cells) for cells in found]


TABLES = {
    title: rows_of(text)
    for title, text in (part.split("\n", 1) for part in re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:])
}


def of_model(model: type[BaseModel], *, without: tuple[str, ...] = ()) -> dict[str, Any]:
    """Returns the fields of a model with their defaults as the file would have them."""
    return {
        name: REQUIRED if field.is_required() else to_jsonable_python(field.get_default(call_default_factory=True))
        for name, field in model.model_fields.items()
        if name not in without
    }


def section(model: type[BaseModel]) -> dict[str, Any]:
    """As `of_model`; a nested section that has only defaults is an empty mapping."""
    return {
        name: {} if isinstance(field.default, BaseModel) else default
        for (name, field), default in zip(model.model_fields.items(), of_model(model).values(), strict=True)
    }


def of_mcp() -> dict[str, Any]:
    fields: dict[str, Any] = dict.fromkeys(operator_rules._SERVER_FIELDS)
    return fields | {
        "env": {},
        "env_from": [],
        "headers": {},
        "headers_env": {},
        "timeout_seconds": 60,
        "approval": "never",
    }


PROGRAM_OWN = tuple(name for name in ProgramFields.model_fields if name in AgentEntry.model_fields)
SCHEMAS: dict[str, Mapping[str, Any]] = {
    "models": section(ModelsConfig),
    "models.providers.<name>": section(ProviderEntry),
    "models.providers.<name>.models[]": of_model(ModelEntry),
    "models.providers.<name>.models[].price": of_model(Price),
    "models.providers.<name>.timeout": of_model(Timeouts),
    "models.providers.<name>.limits": of_model(Limits),
    "models.providers.<name>.limits.call_id": of_model(CallIdForm),
    "models.model_aliases.<name>[]": of_model(AliasTarget),
    "models.defaults": section(Defaults),
    "models.defaults.retry": of_model(RetryPolicy),
    "models.defaults.circuit_breaker": of_model(BreakerPolicy),
    "models.defaults.rate_limit.<path>": of_model(RateLimit),
    "agents[]": of_model(AgentEntry),
    "agents[] of a program": of_model(ProgramFields, without=PROGRAM_OWN),
    "tools": {
        name: to_jsonable_python(getattr(operator_rules.ToolRules(), name))
        for name in inspect.get_annotations(operator_rules.ToolRules)
    },
    "mcp.<server>": of_mcp(),
    "routing": of_model(RoutingEntry),
    "routing.rules[]": of_model(RuleEntry),
    "spaces": of_model(SpacesEntry),
}

PROVIDER = "models: {providers: {local: {base_url: 'http://127.0.0.1:1/v1', api_key: none, @}}}"
WHERE: dict[str, str] = {
    "models": "models: {@}",
    "models.providers.<name>": PROVIDER,
    "models.providers.<name>.models[]": PROVIDER.replace("@", "models: [{id: m, @}]"),
    "models.providers.<name>.models[].price": PROVIDER.replace(
        "@", "models: [{id: m, price: {input: 1, output: 1, @}}]"
    ),
    "models.providers.<name>.timeout": PROVIDER.replace("@", "timeout: {@}"),
    "models.providers.<name>.limits": PROVIDER.replace("@", "limits: {@}"),
    "models.providers.<name>.limits.call_id": PROVIDER.replace("@", "limits: {call_id: {@}}"),
    "models.model_aliases.<name>[]": "models: {model_aliases: {mine: [{model: m, @}]}}",
    "models.defaults": "models: {defaults: {@}}",
    "models.defaults.retry": "models: {defaults: {retry: {@}}}",
    "models.defaults.circuit_breaker": "models: {defaults: {circuit_breaker: {@}}}",
    "models.defaults.rate_limit.<path>": "models: {defaults: {rate_limit: {/v1/messages: {rpm: 1, @}}}}",
    "agents[]": "agents: [{id: a, type: model, @}]",
    "agents[] of a program": "agents: [{id: a, type: acp, @}]",
    "tools": "tools: {@}",
    "mcp.<server>": "mcp: {files: {url: 'https://example.com', @}}",
    "routing": "routing: {@}",
    "routing.rules[]": "routing: {rules: [{keywords: [k], agent: a, @}]}",
    "spaces": "spaces: {@}",
}
"""A file into which a field of the section is written, at the `@`."""


@pytest.fixture
def file(tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(config_file, "CHECK_SECONDS", 0.0)
    settings.GATEWAY_CONFIG = tmp_path / "gateway.yaml"
    return Path(settings.GATEWAY_CONFIG)


def test_every_section_has_its_table() -> None:
    assert set(TABLES) == set(SCHEMAS)
    assert {re.split(r"[.\[ ]", title)[0] for title in TABLES} == set(section_paths())


@pytest.mark.parametrize("title", SCHEMAS)
def test_every_field_is_documented_with_its_default_and_no_other(title: str) -> None:
    documented = {row.field: row.default for row in TABLES[title]}
    assert list(documented) == list(SCHEMAS[title])
    for name, default in SCHEMAS[title].items():
        if (title, name) == ("models", "providers"):
            assert documented[name] == "`{}`"  # the shipped ones are added before the model is made
        elif default is REQUIRED:
            assert documented[name] == "required", name
        elif default is None:
            assert documented[name] == "none", name
        else:
            assert yaml.safe_load(documented[name].strip("`")) == default, name


def written(title: str, row: Row) -> str:
    """Returns a file with the example of a field, in place of the same field of the file around it."""
    text = WHERE[title].replace("@", f"{row.field}: {row.example}")
    if (title, row.field) == ("mcp.<server>", "command"):
        text = text.replace("url: 'https://example.com', ", "")
    if title == "routing.rules[]" and row.field == "agents":
        text = text.replace("agent: a, ", "")
    around, _, own = text.rpartition(f"{row.field}: {row.example}")
    without_twin = re.sub(rf"\b{row.field}: (\[\w+\]|'[^']*'|\w+), ", "", around)
    if title == "models.providers.<name>" and row.field == "api_key_env":
        without_twin = without_twin.replace("api_key: none, ", "")
    return f"{without_twin}{row.field}: {row.example}{own}"


@pytest.mark.parametrize(
    ("title", "row"),
    [(title, row) for title, rows in TABLES.items() for row in rows],
    ids=lambda one: getattr(one, "field", one),
)
def test_every_example_loads(title: str, row: Row, file: Path) -> None:
    text = written(title, row)
    assert yaml.safe_load(row.example) != SCHEMAS[title][row.field]
    file.write_text(text, encoding="utf-8")
    sections_load()


def test_an_example_that_does_not_load_is_noticed(file: Path) -> None:
    file.write_text(written("models.defaults.retry", Row("max_retries", "`2`", "many")), encoding="utf-8")
    with pytest.raises(ConfigurationError, match="max_retries"):
        sections_load()


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL))
def test_every_block_loads_and_refers_to_what_there_is(block: str, file: Path) -> None:
    file.write_text(block, encoding="utf-8")
    sections_load()
    assert list(config_file.dangling_references()) == []
