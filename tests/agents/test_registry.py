"""Resolution of model and agent names to engines, and the fields of refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from agents_app.engine import Attachment
from agents_app.options import provider_options_check
from agents_app.registry import (
    ResolvedModel,
    agent_resolve,
    attachments_check,
    engine_get,
    model_resolve,
)
from core_app.errors import BadRequest, Unprocessable
from inference_app.catalogue.access import TenantAccess, access_replace
from inference_app.catalogue.config import models_config
from inference_app.catalogue.resolution import default_candidate
from tenants_app.principal import Principal

pytestmark = [pytest.mark.usefixtures("upstream"), pytest.mark.django_db]
OTHER = Principal(7, "other", None, "k", frozenset({"sessions"}))
DEFAULT = Principal(1, "default", None, "k", frozenset({"sessions"}))


@pytest.mark.parametrize("name", ["demo", "model"])
def test_an_engine_is_one_object_for_the_whole_process(name: str) -> None:
    assert engine_get(name) is engine_get(name)
    assert engine_get(name).name == name


def test_an_unknown_engine_is_refused() -> None:
    with pytest.raises(Unprocessable):
        engine_get("teapot")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("demo:tour", ResolvedModel("demo", "demo:tour", "demo", "tour")),
        ("demo/echo", ResolvedModel("demo", "demo/echo", "demo", "echo")),
        ("tour", ResolvedModel("demo", "tour", "demo", "tour")),
        ("scripted:anything:at/all", ResolvedModel("model", "scripted:anything:at/all", "scripted", "anything:at/all")),
        ("blind", ResolvedModel("model", "blind", "scripted", "blind")),
        ("resilient", ResolvedModel("model", "resilient", "scripted", "status:500")),
        ("qwen3:14b", ResolvedModel("model", "qwen3:14b", "ollama", "qwen3:14b")),
    ],
)
def test_a_name_is_resolved_to_its_engine_and_first_candidate(name: str, expected: ResolvedModel) -> None:
    assert model_resolve(name, principal=OTHER) == expected


@pytest.mark.parametrize(
    "name", ["nobody-knows-this", "openai:gpt-4o", "gpt-4o", "demo:unheard-of", "", ":", "keyed:x"]
)
def test_a_name_that_cannot_be_served_is_refused_naming_the_field(name: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        model_resolve(name, principal=OTHER)
    assert refused.value.field == "model"


def test_no_tenant_is_served_by_a_substitute_that_nobody_switched_on() -> None:
    for principal in (OTHER, DEFAULT):
        with pytest.raises(Unprocessable) as refused:
            model_resolve("nobody-knows-this", principal=principal)
        assert refused.value.field == "model"


@pytest.fixture
def access() -> Iterator[Callable[[TenantAccess], None]]:
    """Sets the models that the tenant `other` may use."""
    yield lambda row: access_replace({OTHER.tenant_id: row})
    access_replace({})


def test_a_tenant_that_takes_substitutes_is_served_by_one(access: Callable[[TenantAccess], None]) -> None:
    access(TenantAccess(substitution=True))
    resolved = model_resolve("nobody-knows-this", principal=OTHER)
    assert (resolved.name, resolved.provider) == ("scripted:hello", "scripted")


def test_a_tenant_is_served_by_no_model_but_those_it_may_use(access: Callable[[TenantAccess], None]) -> None:
    access(TenantAccess(("scripted:hello", "resilient")))
    assert model_resolve("scripted:hello", principal=OTHER).name == "scripted:hello"
    assert model_resolve("resilient", principal=OTHER).name == "resilient"
    assert agent_resolve("helper", principal=OTHER).name == "scripted:hello"
    for name in ("scripted:words", "blind", "demo:tour"):
        with pytest.raises(Unprocessable):
            model_resolve(name, principal=OTHER)
        assert model_resolve(name, principal=DEFAULT).name == name
    access(TenantAccess(("demo:*",)))
    with pytest.raises(Unprocessable) as refused:
        agent_resolve("helper", principal=OTHER)
    assert refused.value.field == "agent"


def test_an_agent_of_type_model_is_resolved_to_its_model() -> None:
    assert agent_resolve("helper", principal=OTHER) == ResolvedModel("model", "scripted:hello", "scripted", "hello")


@pytest.mark.parametrize("agent", ["nobody", "coder", "lost", ""])
def test_an_agent_that_cannot_be_run_is_refused_naming_the_field(agent: str) -> None:
    with pytest.raises(Unprocessable) as refused:
        agent_resolve(agent, principal=DEFAULT)
    assert refused.value.field == "agent"


def test_the_default_without_any_key_is_the_demo() -> None:
    assert default_candidate(models_config()) == "demo:tour"


def test_the_default_is_the_first_provider_with_a_key(monkeypatch: Any) -> None:
    monkeypatch.setenv("DEEPSEEK_API_KEY", "k")
    assert default_candidate(models_config()) == "deepseek:deepseek-chat"


@pytest.mark.parametrize(
    ("model", "kind", "refused"),
    [("blind", "image", True), ("hello", "image", False), ("scripted:other", "audio", False)],
)
def test_an_attachment_is_refused_only_by_a_model_known_not_to_take_it(model: str, kind: Any, refused: bool) -> None:
    resolved = model_resolve(model, principal=OTHER)
    attachments = [Attachment(kind, "image/png", data=b"x")]
    if not refused:
        attachments_check(resolved, attachments)
        return
    with pytest.raises(Unprocessable) as error:
        attachments_check(resolved, attachments)
    assert error.value.field == "attachments"


GOOD: list[tuple[str, Any]] = [
    ("temperature", 0.5),
    ("top_p", 1),
    ("top_k", 40),
    ("seed", 7),
    ("stop", ["END"]),
    ("stop", "END"),
    ("presence_penalty", -2),
    ("frequency_penalty", 2),
    ("logit_bias", {"50256": -100}),
    ("parallel_tool_calls", False),
    ("reasoning_effort", "low"),
]


@pytest.mark.parametrize(("name", "value"), GOOD)
@pytest.mark.parametrize("engine", ["model", "demo"])
def test_a_known_option_is_taken(engine: str, name: str, value: Any) -> None:
    assert provider_options_check(engine, {name: value}) == {name: value}


@pytest.mark.parametrize(
    ("engine", "name", "value"),
    [
        ("model", "temprature", 0.5),
        ("model", "temperature", "hot"),
        ("model", "temperature", True),
        ("model", "temperature", 2.1),
        ("model", "temperature", float("nan")),
        ("model", "seed", 1.5),
        ("model", "stop", []),
        ("model", "stop", [""]),
        ("model", "stop", ["x"] * 17),
        ("model", "logit_bias", {"1": 101}),
        ("model", "parallel_tool_calls", 1),
        ("model", "reasoning_effort", ["low"]),
        ("model", "delayMs", 10),
        ("model", "api_key", "mine"),
        ("model", "extra_body", {}),
        ("demo", "delayMs", 1001),
        ("demo", "delayMs", -1),
    ],
)
def test_any_other_option_is_refused_by_its_name(engine: str, name: str, value: Any) -> None:
    with pytest.raises(BadRequest) as refused:
        provider_options_check(engine, {name: value})
    assert refused.value.field == f"providerOpts.{name}"


def test_no_options_are_fine() -> None:
    assert provider_options_check("model", None) == {}
