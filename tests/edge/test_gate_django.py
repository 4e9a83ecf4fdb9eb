"""Django behind the gate: the key is checked once, and the views get the principal and the whole body."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, cast

import pytest
from django.core.asgi import get_asgi_application
from django.db import connections
from django.urls import URLPattern

from core_app import database
from edge_app.face import Face
from edge_app.gate import Gate, PathTable
from edge_app.http.asgi import Application
from edge_app.rest import authentication
from tenants_app.limits import RateLimits
from tenants_app.principal import SCOPES
from tenants_app.services import api_key_issue, api_key_revoke, tenant_create
from tenants_app.services.api_key import IssuedKey
from tests.edge.asgi import ask, http_scope
from tests.tenants.urls import urlpatterns

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls("tests.tenants.urls")]


def make_key() -> IssuedKey:
    return api_key_issue(tenant=tenant_create(slug="acme"), name="k", scopes=SCOPES)


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    limits = RateLimits()
    face = Face(name="test", urls=cast("list[URLPattern]", urlpatterns))
    yield Gate(cast("Application", get_asgi_application()), PathTable([face]), limits=limits)
    await limits.close()
    connections.close_all()


async def test_a_view_takes_the_gates_word_for_who_asks(monkeypatch: pytest.MonkeyPatch, gate: Gate) -> None:
    def refuse_lookup(secret: str | None) -> Any:
        raise AssertionError("the gate has looked already")

    monkeypatch.setattr(authentication, "principal_for_secret", refuse_lookup)
    issued = await database.run(make_key)
    answer = await ask(gate, http_scope("GET", "/echo", {"Authorization": f"Bearer {issued.secret}"}))
    assert (answer.status, answer.json) == (200, {"tenant": "acme"})


async def test_a_chunked_body_is_read_by_a_view(gate: Gate) -> None:
    issued = await database.run(make_key)
    headers = {"X-API-Key": issued.secret, "Content-Type": "application/json", "Transfer-Encoding": "chunked"}
    answer = await ask(gate, http_scope("POST", "/echo", headers), [b'{"a"', b":[1,", b"2]}"])
    assert answer.json == {"data": {"a": [1, 2]}}


async def test_a_revoked_key_does_not_pass_again(gate: Gate) -> None:
    issued = await database.run(make_key)
    scope = http_scope("GET", "/echo", {"X-API-Key": issued.secret})
    assert (await ask(gate, scope)).status == 200
    await database.run(api_key_revoke, key=issued.key)
    assert (await ask(gate, scope)).error == (401, "unauthorized")
    assert (await ask(gate, scope)).error == (401, "unauthorized")
