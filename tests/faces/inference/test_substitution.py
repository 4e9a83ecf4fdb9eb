"""Substitution of unknown models: off for every tenant; where an operator switches it on, the answer and the log say
so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from inference_app.catalogue.access import TenantAccess, access_replace, substitution_allowed
from inference_app.catalogue.config import MODELS
from tenants_app.principal import DEFAULT_TENANT, Principal
from tests.conftest import Caller
from tests.faces.inference.conftest import RelayClient
from tests.faces.inference.scripted import PATHS, question


@pytest.fixture(autouse=True)
def _no_access_left() -> Iterator[None]:
    yield
    access_replace({})


@pytest.fixture
def chain(relay: RelayClient, settings: Any) -> None:
    """A fallback chain whose provider answers."""
    path = Path(settings.GATEWAY_CONFIG)
    text = path.read_text().replace("second: {", "second: {default_model: hello, ")
    path.write_text(text.replace("  model_aliases:", "  fallback_chain: [second]\n  model_aliases:"))
    MODELS.forget()


def test_the_default_tenant_is_no_exception(owner: Caller) -> None:
    principal = owner.principal
    default = Principal(**{**{f: getattr(principal, f) for f in principal.__slots__}, "tenant_slug": DEFAULT_TENANT})
    assert not substitution_allowed(default)
    assert not substitution_allowed(principal)


@pytest.mark.parametrize("client", PATHS)
@pytest.mark.usefixtures("chain")
async def test_a_model_that_nobody_serves_is_not_found(relay: RelayClient, client: str) -> None:
    heard = await relay.post(PATHS[client], question(client, "nobody-has-this"))
    assert (heard.status, "nobody-has-this" in heard.json["error"]["message"]) == (404, True)


@pytest.mark.parametrize("client", PATHS)
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.usefixtures("chain")
async def test_where_it_is_on_the_answer_and_the_log_say_so(
    relay: RelayClient, owner: Caller, caplog: pytest.LogCaptureFixture, client: str, stream: bool
) -> None:
    access_replace({owner.principal.tenant_id: TenantAccess(substitution=True)})
    heard = await relay.post(PATHS[client], question(client, "nobody-has\r\nthis/ü", stream=stream))
    assert (heard.status, heard.headers["x-gateway-provider"]) == (200, "second")
    assert heard.headers["x-gateway-substituted-for"] == "nobody-has%0D%0Athis/%C3%BC"
    assert "model_substituted" in caplog.text
    named = await relay.post(PATHS[client], question(client, "second:hello", stream=stream))
    assert "x-gateway-substituted-for" not in named.headers
