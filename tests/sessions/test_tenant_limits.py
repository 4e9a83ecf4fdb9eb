"""Limits of open sessions and waiting runs per tenant, which do not affect other tenants."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from core_app import database
from sessions_app.services.tenant_limits import OPEN_SESSIONS, WAITING_RUNS
from tenants_app.models import Tenant
from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness

pytestmark = pytest.mark.django_db(transaction=True)


async def test_past_its_open_sessions_a_tenant_gets_no_more_until_it_closes_one(
    api: Client, gateway: GatewayHarness, stranger: Caller, settings: Any
) -> None:
    settings.GATEWAY_MAX_SESSIONS_PER_TENANT = 2
    first = await api.session()
    await api.session()
    assert (await api.post("/v1/sessions", {"model": "demo:echo"})).error == (402, "quota_exceeded")
    await gateway.client(stranger).session()
    await api.delete(f"/v1/sessions/{first}")
    await api.session()


async def test_a_fork_is_a_session_more(api: Client, settings: Any) -> None:
    origin = await api.session(messages=[{"role": "user", "content": "hello"}])
    (message,) = (await api.get(f"/v1/sessions/{origin}/messages")).json["messages"]
    settings.GATEWAY_MAX_SESSIONS_PER_TENANT = 1
    fork = f"/v1/sessions/{origin}/fork", {"messageId": message["id"]}
    assert (await api.post(*fork)).error == (402, "quota_exceeded")
    await api.delete(f"/v1/sessions/{origin}")
    assert (await api.post(*fork)).status == 201


async def test_past_its_waiting_runs_a_tenant_prompts_no_more(
    api: Client, gateway: GatewayHarness, settings: Any
) -> None:
    settings.GATEWAY_MAX_WAITING_PER_TENANT = 1
    waiting, other = await api.session(model="demo:tour"), await api.session()
    request_id = await api.prompt(waiting, "approve")
    async with api.events(waiting) as reader:
        await reader.next_of("approval_required")
    await gateway.wait_idle()
    assert (await api.post(f"/v1/sessions/{other}/prompt", {"text": "x"})).error == (402, "quota_exceeded")
    await api.post(f"/v1/sessions/{waiting}/runs/{request_id}/abort", {})
    assert (await api.run(other, "x"))["status"] == "completed"


async def test_a_tenants_own_ceiling_goes_before_the_gateways(api: Client, tenant: Tenant, settings: Any) -> None:
    settings.GATEWAY_MAX_SESSIONS_PER_TENANT = 1
    tenant.settings = {"max_sessions": 0}
    await database.run(tenant.save)
    for _ in range(3):
        await api.session()


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by the tables' sizes")
@pytest.mark.parametrize(("query", "index"), [(OPEN_SESSIONS, "session_open"), (WAITING_RUNS, "run_waiting")])
def test_a_ceiling_reads_only_what_counts(query: str, index: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {query}", [1, 5])
        assert index in str(cursor.fetchall())
