"""Sockets without a credential: only where the operator allows it, only from this machine, and no pages of others."""

from __future__ import annotations

from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tenants_app.models import Tenant
from tenants_app.services.tenant import tenant_create
from tests.faces.codelab.ide import ide
from tests.faces.native.live_server import LiveServer
from tests.gateway_harness import GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def _default_tenant(gateway: GatewayHarness) -> None:
    if not Tenant.objects.filter(slug="default").exists():
        tenant_create(slug="default")


@pytest.mark.parametrize("origin", [None, "http://localhost:3000", "http://127.0.0.1", "vscode-webview://abc"])
async def test_a_program_on_this_machine_needs_no_key_where_that_is_allowed(
    server: LiveServer, settings: Any, origin: str | None
) -> None:
    settings.GATEWAY_ALLOW_ANONYMOUS_LOOPBACK = True
    async with ide(server.port, "dev", headers={} if origin is None else {"Origin": origin}) as client:
        await client.send("user_message", content="hello")
        assert await client.answer()


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost.elsewhere.example"},
        {"X-Forwarded-For": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9"},
        {"X-API-Key": "wrong"},
    ],
)
async def test_pages_of_others_and_what_comes_through_a_proxy_are_refused(
    server: LiveServer, settings: Any, headers: dict[str, str]
) -> None:
    settings.GATEWAY_ALLOW_ANONYMOUS_LOOPBACK = True
    await refused(server, headers)


async def test_it_is_off_by_default(server: LiveServer) -> None:
    await refused(server, {})


async def refused(server: LiveServer, headers: dict[str, str]) -> None:
    with pytest.raises(InvalidStatus) as error:
        async with ide(server.port, "dev", headers=headers):
            pass
    assert error.value.response.status_code == 401
