"""A model that *Tenants' models* does not allow is served under no spelling of its name, on no path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from agents_app.registry import model_resolve
from core_app.errors import GatewayError
from inference_app.catalogue.access import TenantAccess, access_replace
from inference_app.catalogue.config import MODELS, models_config
from inference_app.errors import ModelNotFound, NoProvider
from inference_app.relay.targets import TARGETS
from inference_app.request_kinds import RequestKind
from tenants_app.principal import Principal

CONFIG = """
models:
  providers:
    closed: {base_url: "http://127.0.0.1:1/v1", api_key: none, models: [dear, shared], default_model: dear}
    open: {base_url: "http://127.0.0.1:1/v1", api_key: none, models: [cheap, shared]}
  model_aliases: {fast: "closed:dear", mixed: [{model: "closed:dear"}, {model: "open:cheap"}]}
  model_routing: {de: [closed]}
  fallback_chain: [closed]
"""
WHO = Principal(7, "acme", None, "k", frozenset())
KINDS: tuple[RequestKind, ...] = ("chat", "messages", "responses", "embeddings")

SPELLINGS = [
    "closed:dear", "closed/dear", "dear", "fast", "mixed", "shared", "CLOSED:dear", "Closed/Dear", " closed:dear",
    "closed:dear ", "closed::dear", "closed//dear", "closed:/dear", "closed:dear:free", "closed:dear\x00",
    "ｃlosed:dear",
    "closed\u200b:dear", "closed%3adear", "open:dear/../../closed:dear", "open:closed:dear", "open/closed/dear",
    "de", "death", "nobody-knows-this", "closed:*", "*", "open:*", "closed:cheap", "cheap:dear", "",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _configured(settings: Any, tmp_path: Any) -> Iterator[None]:
    path = tmp_path / "gateway.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    settings.GATEWAY_CONFIG = path
    MODELS.forget()
    yield
    access_replace({})
    MODELS.forget()


@pytest.mark.parametrize("patterns", [("open:*",), ("cheap",), ("open:*", "cheap", "nobody-knows-*")])
@pytest.mark.parametrize("substitution", [True, False])
def test_no_spelling_leads_to_a_provider_that_is_not_allowed(patterns: tuple[str, ...], substitution: bool) -> None:
    access_replace({WHO.tenant_id: TenantAccess(patterns, substitution)})
    for name in SPELLINGS:
        for kind in KINDS:
            try:
                found = TARGETS.targets_for(models_config(), name, kind, {}, WHO)
            except (ModelNotFound, NoProvider):
                continue
            assert {target.candidate.provider for target in found} == {"open"}, (name, kind)
        try:
            assert model_resolve(name, principal=WHO).provider == "open", name
        except GatewayError:
            continue


def test_what_is_allowed_is_served() -> None:
    access_replace({WHO.tenant_id: TenantAccess(("open:*",))})
    [target] = TARGETS.targets_for(models_config(), "shared", "chat", {}, WHO)
    assert target.candidate.name == "open:shared"
    access_replace({})
    assert TARGETS.targets_for(models_config(), "fast", "chat", {}, WHO)[0].candidate.provider == "closed"
