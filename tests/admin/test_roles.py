"""Roles in the admin: who gives and takes them, and what people with roles see."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tenants_app.models import AuditEntry, Membership, Tenant, User
from tenants_app.services.membership import role_give
from tests.admin.conftest import SESSIONS, Waiting, signed_in

pytestmark = pytest.mark.django_db

ROLES = "/admin/tenants_app/membership/"


def member(tenant: Tenant, role: str, name: str) -> Client:
    client = signed_in(username=name)
    role_give(user=User.objects.get(username=name), tenant=tenant, role=role)
    return client


def give(client: Client, name: str, tenant: Tenant, role: str) -> Any:
    return client.post(f"{ROLES}add/", {"username": name, "tenant": tenant.pk, "role": role})


def roles_of(name: str) -> set[tuple[str, str]]:
    return set(Membership.objects.filter(user__username=name).values_list("tenant__slug", "role"))


def test_a_superuser_gives_and_takes_roles_anywhere(root: Client, tenant: Tenant, other_tenant: Tenant) -> None:
    User.objects.create_user("zoe")
    assert give(root, "zoe", tenant, "viewer").status_code == 302
    assert give(root, "zoe", other_tenant, "admin").status_code == 302
    assert give(root, "zoe", tenant, "operator").status_code == 302
    assert roles_of("zoe") == {(tenant.slug, "operator"), (other_tenant.slug, "admin")}
    taken = Membership.objects.get(tenant=tenant)
    assert root.post(f"{ROLES}{taken.pk}/delete/", {"post": "yes"}).status_code == 302
    assert roles_of("zoe") == {(other_tenant.slug, "admin")}
    actions = list(AuditEntry.objects.filter(actor="user:root").values_list("action", flat=True))
    assert sorted(actions) == ["role.give"] * 3 + ["role.take"]


def test_a_tenants_administrator_handles_its_own_people_only(tenant: Tenant, other_tenant: Tenant) -> None:
    chief = member(tenant, "admin", "chief")
    member(tenant, "viewer", "vic")
    User.objects.create_user("home", tenant=tenant)
    User.objects.create_user("stranger", tenant=other_tenant)
    member(other_tenant, "viewer", "foreign")
    assert give(chief, "vic", tenant, "reviewer").status_code == 302
    assert give(chief, "home", tenant, "admin").status_code == 302
    assert roles_of("vic") == {(tenant.slug, "reviewer")}
    answers = [give(chief, name, tenant, "viewer") for name in ("stranger", "foreign", "nobody-at-all")]
    assert {answer.status_code for answer in answers} == {200}
    assert all("There is nobody of this name." in answer.content.decode() for answer in answers)
    assert give(chief, "vic", other_tenant, "admin").status_code == 200
    assert "foreign" not in chief.get(ROLES).content.decode()
    theirs = Membership.objects.get(user__username="foreign")
    assert chief.get(f"{ROLES}{theirs.pk}/change/").status_code == 404
    assert chief.post(f"{ROLES}{theirs.pk}/delete/", {"post": "yes"}).status_code == 404
    assert roles_of("foreign") == {(other_tenant.slug, "viewer")}


def test_nobody_gives_a_role_above_their_own(tenant: Tenant, scoped: Any) -> None:
    member(tenant, "viewer", "vic")
    narrow = scoped("admin", "sessions:read")
    assert "You may do less than the role" in give(narrow, "vic", tenant, "operator").content.decode()
    assert roles_of("vic") == {(tenant.slug, "viewer")}


@pytest.mark.parametrize("role", ["viewer", "reviewer", "operator"])
def test_roles_below_administrator_handle_nobody(tenant: Tenant, role: str) -> None:
    person = member(tenant, role, "person")
    for page in (ROLES, f"{ROLES}add/", "/admin/tenants_app/apikey/", "/admin/tenants_app/auditentry/"):
        assert person.get(page).status_code == 403, page
    assert give(person, "person", tenant, "admin").status_code == 403
    assert roles_of("person") == {(tenant.slug, role)}


def test_a_viewer_sees_sessions_of_the_chosen_tenant_and_decides_nothing(
    waiting: Waiting, tenant: Tenant, other_tenant: Tenant
) -> None:
    viewer = member(tenant, "viewer", "vic")
    assert waiting.session.public_id in viewer.get(SESSIONS).content.decode()
    assert viewer.get(waiting.page).status_code == 200
    role_give(user=User.objects.get(username="vic"), tenant=other_tenant, role="viewer")
    viewer.post("/console/tenant", {"tenant": other_tenant.slug})
    assert waiting.session.public_id not in viewer.get(SESSIONS).content.decode()
    assert viewer.get(waiting.page).status_code == 404


def test_a_page_asks_for_a_persons_role_a_few_times_only(tenant: Tenant) -> None:
    """For the tenant, the principal and the admission; not for each of the models in the navigation."""
    chief = member(tenant, "admin", "chief")
    with CaptureQueriesContext(connection) as queries:
        assert chief.get("/admin/").status_code == 200
    asked = [query["sql"] for query in queries if 'FROM "tenants_app_membership"' in query["sql"]]
    assert 1 <= len(asked) <= 3


def test_people_without_a_role_or_staff_stay_out(tenant: Tenant, client: Client) -> None:
    User.objects.create_user("plain", password="pass-word-17", tenant=tenant, scopes=["sessions"])
    given = {"username": "plain", "password": "pass-word-17"}
    assert client.post("/admin/login/?next=/admin/", given).status_code == 200
    User.objects.create_user("vic", password="pass-word-17")
    role_give(user=User.objects.get(username="vic"), tenant=tenant, role="viewer")
    given = {"username": "vic", "password": "pass-word-17"}
    assert client.post("/admin/login/?next=/admin/", given).status_code == 302
    assert client.get("/admin/").status_code == 200
