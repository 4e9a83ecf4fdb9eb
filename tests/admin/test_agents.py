"""Admin pages of agents: superusers add and change them, also programs; tenants' staff look at their own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from agents_app.models import Agent, AgentState
from tenants_app.models import AuditEntry, Tenant
from tests.admin.conftest import signed_in

pytestmark = pytest.mark.django_db

AGENTS = "/admin/agents_app/agent/"


def form(**fields: Any) -> dict[str, Any]:
    empty = {"tenant": "", "name": "", "endpoint": "", "model": "", "system_prompt": "", "timeout": ""}
    lists = {"capabilities": "[]", "tools": "[]", "entry": "{}"}
    return {**empty, **lists, "public_id": "helper", "type": "model", "enabled": "on", **fields}


def test_a_program_for_all_tenants_is_added_changed_and_removed(root: Client) -> None:
    entry = {"command": "opencode", "args": ["acp"]}
    added = root.post(f"{AGENTS}add/", form(type="acp", entry=json.dumps(entry)))
    assert added.status_code == 302, added.content
    agent = Agent.objects.get()
    assert (agent.public_id, agent.tenant_id, agent.trusted, agent.entry) == ("helper", None, True, entry)
    changed = root.post(f"{AGENTS}{agent.pk}/change/", form(type="acp", entry=json.dumps(entry), name="Helper"))
    assert changed.status_code == 302, changed.content
    agent.refresh_from_db()
    assert (agent.name, AgentState.objects.count()) == ("Helper", 1)
    assert root.post(f"{AGENTS}{agent.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not Agent.objects.exists()
    assert not AgentState.objects.exists()
    acts = AuditEntry.objects.filter(action__startswith="agent.").order_by("pk").values_list("action", flat=True)
    assert list(acts) == ["agent.register", "agent.update", "agent.unregister"]


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "teapot"},
        {"type": "http"},
        {"type": "acp"},
        {"capabilities": "5"},
        {"entry": "[]"},
        {"entry": '{"shell": "sh"}'},
        {"tools": '["rm"]'},
    ],
)
def test_what_cannot_be_an_agent_is_refused_in_the_form(root: Client, fields: dict[str, Any]) -> None:
    answer = root.post(f"{AGENTS}add/", form(**fields))
    assert answer.status_code == 200
    assert b"errorlist" in answer.content
    assert not Agent.objects.exists()


def test_a_tenants_staff_sees_its_own_agents_without_their_environment(tenant: Tenant) -> None:
    entry = {"command": "sh", "env": {"KEY": "SECRET"}}
    own = Agent.objects.create(tenant=tenant, public_id="own-agent", type="process", trusted=True, entry=entry)
    shared = Agent.objects.create(public_id="shared-agent", type="model")
    ann = signed_in(username="ann", is_staff=True, tenant=tenant, scopes=["agents:read"])
    page = ann.get(AGENTS)
    assert b"own-agent" in page.content
    assert b"shared-agent" not in page.content
    assert b"SECRET" not in ann.get(f"{AGENTS}{own.pk}/change/").content
    assert ann.get(f"{AGENTS}{shared.pk}/change/").status_code in (302, 404)
    assert ann.post(f"{AGENTS}add/", form()).status_code == 403
    assert ann.post(f"{AGENTS}{own.pk}/change/", form(public_id="own-agent")).status_code == 403
