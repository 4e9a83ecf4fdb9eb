"""Tasks, spaces and rules in the admin."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client as Browser

from core_app import database
from faces.mesh.models import RoutingRule, Space, Task
from faces.mesh.rules import routing_table
from tenants_app.models import AuditEntry, Tenant
from tenants_app.principal import TENANT_SCOPES
from tests.admin.conftest import XSS, signed_in
from tests.conftest import Caller
from tests.faces.mesh.conftest import Script, ended, submit
from tests.gateway_harness import Client
from tests.scripted_engine import Gate, gated_leg

pytestmark = pytest.mark.django_db(transaction=True)

LISTS = ["/admin/mesh/task/", "/admin/mesh/task/?status=completed", "/admin/mesh/space/", "/admin/mesh/routingrule/"]
RULE = {"name": "reviews", "keywords": "code review\n代码审查\n", "agents": "two", "priority": "50", "enabled": "on"}


@pytest.fixture
def person(tenant: Tenant) -> Browser:
    """A member of the tenant's staff with all its scopes."""
    return signed_in(username="ann", tenant=tenant, is_staff=True, scopes=list(TENANT_SCOPES))


@pytest.fixture
def outsider(other_tenant: Tenant) -> Browser:
    """The same of another tenant."""
    return signed_in(username="bob", tenant=other_tenant, is_staff=True, scopes=list(TENANT_SCOPES))


async def in_thread(function: Any, *args: Any, **more: Any) -> Any:
    return await database.run(lambda: function(*args, **more))


async def test_every_list_and_row_is_shown_to_the_tenants_people_only(
    api: Client, person: Browser, outsider: Browser
) -> None:
    space = (await api.post("/spaces", {"metadata": {"name": XSS}})).json["space_id"]
    task = await submit(api, XSS, context={"shared_space_id": space})
    await ended(api, task)
    row, place = await database.run(lambda: (Task.objects.get().pk, Space.objects.get().pk))
    for page in (*LISTS, f"/admin/mesh/task/{row}/change/", f"/admin/mesh/space/{place}/change/"):
        shown = await in_thread(person.get, page)
        assert shown.status_code == 200, page
        assert XSS not in shown.content.decode()
        theirs = await in_thread(outsider.get, page)
        assert theirs.status_code == (404 if "change" in page else 200)
        assert task not in theirs.content.decode()


async def test_a_task_is_cancelled_and_a_space_erased(api: Client, person: Browser, script: Script) -> None:
    gate = Gate()
    script.by_agent["one"] = gated_leg(gate)
    space = (await api.post("/spaces", {})).json["space_id"]
    await api.post(f"/spaces/{space}/messages", {"content": "hello"})
    task = await submit(api, "x")
    await gate.arrival()
    row, place = await database.run(lambda: (Task.objects.get().pk, Space.objects.get().pk))
    act = {"action": "cancel", "_selected_action": row, "confirmed": "1", "text": "Enough."}
    await in_thread(person.post, "/admin/mesh/task/", act)
    assert (await api.get(f"/tasks/{task}")).json["error"] == {"code": "CANCELLED", "message": "Enough."}
    gate.open()
    await in_thread(person.post, "/admin/mesh/space/", {"action": "erase", "_selected_action": place, "confirmed": "1"})
    assert (await api.get(f"/spaces/{space}")).status == 404
    actions = await database.run(lambda: set(AuditEntry.objects.values_list("action", flat=True)))
    assert {"task.cancel", "space.erase"} <= actions


async def test_a_rule_of_a_tenant_applies_to_it_alone(
    api: Client, person: Browser, tenant: Tenant, owner: Caller, stranger: Caller
) -> None:
    made = await in_thread(person.post, "/admin/mesh/routingrule/add/", {**RULE, "tenant": tenant.pk})
    assert made.status_code == 302
    task = await ended(api, await submit(api, "请做代码审查"))
    assert task["assigned_agents"] == ["two"]
    tables = await database.run(lambda: [routing_table(one.principal).rules for one in (owner, stranger)])
    assert ["code review" in rule.keywords for rule in tables[0]].count(True) == 2
    assert all(rule.priority != 50 for rule in tables[1])


async def test_only_the_operator_makes_rules_for_all(person: Browser, other_tenant: Tenant) -> None:
    for chosen in ("", other_tenant.pk):
        refused = await in_thread(person.post, "/admin/mesh/routingrule/add/", {**RULE, "tenant": chosen})
        assert refused.status_code == 200
    assert await database.run(RoutingRule.objects.count) == 0
    root = await in_thread(signed_in, username="root", is_staff=True, is_superuser=True)
    assert (await in_thread(root.post, "/admin/mesh/routingrule/add/", {**RULE, "tenant": ""})).status_code == 302
    assert await database.run(RoutingRule.objects.count) == 1
