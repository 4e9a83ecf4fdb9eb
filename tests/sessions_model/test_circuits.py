"""Runs of several tenants on one provider: circuits count requests and not tries, and none is one tenant's to open."""

from __future__ import annotations

import pytest

from inference_app.catalogue.resolution import Candidate
from inference_app.providers.circuits import CIRCUITS
from tests.agents.conftest import Upstream
from tests.conftest import Caller
from tests.faces.inference.conftest import RelayClient
from tests.gateway_harness import Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)


async def test_the_prompts_of_one_tenant_that_break_a_provider_end_no_other_tenants_run(
    api: Client, gateway: GatewayHarness, stranger: Caller, upstream: Upstream
) -> None:
    other = gateway.client(stranger)
    mine, theirs = [await client.session(model="scripted:poison", outagePolicy="fail") for client in (api, other)]
    for _ in range(5):
        assert (await api.run(mine, "poison"))["status"] == "failed"
        assert (await other.run(theirs, "hello"))["status"] == "completed"


async def test_a_request_that_is_tried_three_times_is_one_failure(
    api: Client, owner: Caller, upstream: Upstream
) -> None:
    """Relayed calls and runs share the tenant's circuit."""
    session, relay = await api.session(model="scripted:status:500", outagePolicy="fail"), RelayClient(owner)
    candidate = Candidate("scripted", "status:500")
    await api.run(session, "hello")
    assert (await relay.chat("scripted:status:500")).status == 502
    assert CIRCUITS.state(candidate) == "CLOSED"
    await api.run(session, "hello")
    assert CIRCUITS.state(candidate) == "OPEN"
    asked = len(upstream.requests())
    assert (await relay.chat("scripted:status:500")).status == 503
    assert len(upstream.requests()) == asked
