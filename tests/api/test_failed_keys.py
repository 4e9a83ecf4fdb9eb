"""The limit of wrong keys per address, through the whole gateway."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from core_app import database
from edge_app.gate.failed_keys import FAILED_KEYS
from tenants_app.key_cache import KEY_CACHE
from tenants_app.models import Tenant
from tenants_app.principal import SCOPES
from tests.conftest import Caller, caller
from tests.gateway_harness import Client, GatewayHarness

LIMIT = 5


@pytest.fixture
def limited(settings: Any) -> int:
    """A limit of wrong keys for requests of the harness, whose address no other test has used up."""
    settings.GATEWAY_FAILED_KEYS_PER_MINUTE = LIMIT
    FAILED_KEYS.reset()
    return LIMIT


async def test_a_key_of_the_same_address_works_on_while_wrong_ones_get_429(
    gateway: GatewayHarness, owner: Caller, tenant: Tenant, limited: int
) -> None:
    # Redis keeps the counts of former runs.
    address = f"2001:db8:{secrets.randbelow(65_536):x}:{secrets.randbelow(65_536):x}::1"
    good = Client(owner, address)
    assert (await good.get("/v1/sessions")).status == 200
    wrong = Client(None, address)
    answers = [
        await wrong.get("/v1/sessions", headers={"x-api-key": f"agw_{number:043d}"}) for number in range(2 * limited)
    ]
    assert [answer.status for answer in answers] == [401] * limited + [429] * limited
    assert int(answers[-1].headers["retry-after"]) >= 1
    # The cache's entry has expired: it is not the reason.
    KEY_CACHE.clear()
    assert (await good.get("/v1/sessions")).status == 200
    fresh = await database.run(caller, tenant, SCOPES)
    assert (await Client(fresh, address).get("/v1/sessions")).status == 200
    # No key at all is no wrong one.
    assert (await wrong.get("/v1/sessions")).status == 401
    assert (await wrong.get("/healthz", headers={"x-api-key": "wrong"})).status == 200
