"""Tests of the admin sections of `tenants_app` and of the `apikey` command: same services, secrets shown once."""

from __future__ import annotations

import re
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from core_app.errors import Unauthorized
from tenants_app.authentication import principal_for_secret
from tenants_app.models import ApiKey, AuditEntry, LedgerEntry, Tenant, User
from tenants_app.services import api_key_revoke, audit_record, ledger_record
from tests.conftest import Caller

pytestmark = [pytest.mark.django_db, pytest.mark.urls("tests.tenants.urls")]

KEYS = "/admin/tenants_app/apikey/"
SECRET = re.compile(r"agw_[A-Za-z0-9_-]{43}")


@pytest.fixture
def operator(client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root", password="pass-word-1"))
    return client


def act(client: Client, action: str, *keys: int, confirmed: bool = True) -> Any:
    data: dict[str, Any] = {"action": action, "_selected_action": list(keys)}
    return client.post(KEYS, data | ({"confirmed": "yes"} if confirmed else {}), follow=True)


def test_signing_in_is_in_the_audit(client: Client) -> None:
    User.objects.create_superuser("root", password="pass-word-1")
    answer = client.post("/admin/login/?next=/admin/", {"username": "root", "password": "pass-word-1"})
    assert answer.status_code == 302
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.action) == ("user:root", "admin.login")


def test_only_staff_get_in(client: Client, tenant: Tenant) -> None:
    client.force_login(User.objects.create_user("ann", tenant=tenant, scopes=["admin"]))
    assert client.get(KEYS).status_code == 302
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("model", ["tenant", "apikey", "user", "ledgerentry", "auditentry"])
def test_every_list_can_be_opened_and_searched(operator: Client, tenant: Tenant, owner: Caller, model: str) -> None:
    ledger_record(tenant_id=tenant.id, run_id="r", response_no=1, model="m", input_tokens=1, output_tokens=1)
    answer = operator.get(f"/admin/tenants_app/{model}/?q=a")
    assert answer.status_code == 200
    assert owner.secret not in answer.content.decode()


def test_an_issued_key_is_shown_once(operator: Client, tenant: Tenant) -> None:
    data = {"tenant": tenant.id, "name": "ci", "scopes": ["sessions", "inference"], "rpm": "9"}
    page = operator.post(f"{KEYS}add/", data, follow=True).content.decode()
    secret = SECRET.search(page)
    assert secret is not None
    principal = principal_for_secret(secret[0])
    assert (principal.tenant_id, principal.rpm, principal.scopes) == (
        tenant.id,
        9,
        frozenset({"sessions", "inference"}),
    )
    assert SECRET.search(operator.get(KEYS).content.decode()) is None
    assert SECRET.search(operator.get(f"{KEYS}{principal.key_id}/change/").content.decode()) is None
    assert AuditEntry.objects.get(action="api_key.issue").actor == "user:root"


def test_a_key_is_changed_but_not_moved(operator: Client, owner: Caller, other_tenant: Tenant) -> None:
    data = {"tenant": other_tenant.id, "name": "new", "scopes": ["tasks"], "rpm": ""}
    operator.post(f"{KEYS}{owner.principal.key_id}/change/", data)
    principal = principal_for_secret(owner.secret)
    assert (principal.key_name, principal.scopes, principal.tenant_id) == (
        "new",
        frozenset({"tasks"}),
        owner.principal.tenant_id,
    )


def test_revoking_asks_first(operator: Client, owner: Caller, colleague: Caller) -> None:
    page = act(operator, "revoke", owner.principal.key_id or 0, confirmed=False)
    assert "cannot be brought back" in page.content.decode()
    assert principal_for_secret(owner.secret)
    act(operator, "revoke", owner.principal.key_id or 0)
    with pytest.raises(Unauthorized):
        principal_for_secret(owner.secret)
    assert principal_for_secret(colleague.secret)


def test_rotating_asks_first_and_shows_the_new_secret_once(operator: Client, owner: Caller) -> None:
    act(operator, "rotate", owner.principal.key_id or 0, confirmed=False)
    assert principal_for_secret(owner.secret)
    secret = SECRET.search(act(operator, "rotate", owner.principal.key_id or 0).content.decode())
    assert secret is not None
    assert principal_for_secret(secret[0]).key_id == owner.principal.key_id
    assert SECRET.search(operator.get(KEYS).content.decode()) is None
    with pytest.raises(Unauthorized):
        principal_for_secret(owner.secret)


def test_what_a_service_refuses_is_a_message(operator: Client, owner: Caller) -> None:
    api_key_revoke(key=ApiKey.objects.get(id=owner.principal.key_id or 0))
    assert "The key is revoked" in act(operator, "rotate", owner.principal.key_id or 0).content.decode()


def test_tenants_are_made_disabled_and_never_deleted(operator: Client) -> None:
    data = {"slug": "acme", "name": "Acme", "default_model": "demo:tour"}
    operator.post("/admin/tenants_app/tenant/add/", data)
    tenant = Tenant.objects.get(slug="acme")
    assert (tenant.default_model, tenant.disabled_at) == ("demo:tour", None)
    change = f"/admin/tenants_app/tenant/{tenant.id}/change/"
    operator.post(change, {**data, "slug": "other", "disabled": "on"})
    tenant.refresh_from_db()
    assert tenant.slug == "acme"
    assert tenant.disabled_at is not None
    operator.post(change, data)
    tenant.refresh_from_db()
    assert tenant.disabled_at is None
    assert operator.post(f"/admin/tenants_app/tenant/{tenant.id}/delete/", {"post": "yes"}).status_code == 403


@pytest.mark.parametrize("given", [{"default_model": "m" * 201}, {"rpm": "-1"}, {"store_responses": "perhaps"}])
def test_a_tenants_bad_settings_are_shown_as_an_error(operator: Client, given: dict[str, str]) -> None:
    answer = operator.post("/admin/tenants_app/tenant/add/", {"slug": "acme", "name": "A", **given})
    assert answer.status_code == 200
    assert not Tenant.objects.exists()


def test_ledger_and_audit_are_for_reading(operator: Client, tenant: Tenant) -> None:
    ledger_record(tenant_id=tenant.id, run_id="r", response_no=1, model="m", input_tokens=1, output_tokens=1)
    rows = {"ledgerentry": LedgerEntry.objects.get().pk, "auditentry": audit_record(actor="x", action="a.b").pk}
    for model, pk in rows.items():
        assert operator.get(f"/admin/tenants_app/{model}/{pk}/change/").status_code == 200
        assert operator.post(f"/admin/tenants_app/{model}/{pk}/change/", {}).status_code == 403
        assert operator.post(f"/admin/tenants_app/{model}/{pk}/delete/", {"post": "yes"}).status_code == 403
        assert operator.get(f"/admin/tenants_app/{model}/add/").status_code == 403


def test_a_user_has_a_tenant_and_scopes(operator: Client, tenant: Tenant) -> None:
    passwords = {"password1": "pass-word-17", "password2": "pass-word-17", "usable_password": "true"}
    operator.post("/admin/tenants_app/user/add/", {"username": "ann", **passwords})
    user = User.objects.get(username="ann")
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    data = {"username": "ann", "is_active": "on", "tenant": tenant.id, "scopes": ["operator"], **joined}
    operator.post(f"/admin/tenants_app/user/{user.id}/change/", data)
    user.refresh_from_db()
    assert (user.tenant, user.scopes) == (tenant, ["operator"])
    operator.post(f"/admin/tenants_app/user/{user.id}/delete/", {"post": "yes"})
    actions = AuditEntry.objects.filter(action__startswith="user.").order_by("id").values_list("action", flat=True)
    assert list(actions) == ["user.create", "user.update", "user.delete"]


def command(*arguments: str) -> tuple[str, str]:
    out, err = StringIO(), StringIO()
    call_command("apikey", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


def test_the_command_prints_the_secret_and_nothing_else(tenant: Tenant) -> None:
    out, err = command("issue", "--tenant", "acme", "--name", "ci", "--scopes", "sessions,tasks", "--rpm", "5")
    principal = principal_for_secret(out.strip())
    assert (principal.scopes, principal.rpm) == (frozenset({"sessions", "tasks"}), 5)
    assert out.strip() not in err


def test_the_command_lists_and_revokes(owner: Caller, stranger: Caller) -> None:
    listed = command("list", "--tenant", "acme")[0]
    assert owner.secret[:12] in listed
    assert stranger.secret[:12] not in listed
    assert owner.secret not in listed
    command("revoke", owner.secret[:12])
    with pytest.raises(Unauthorized):
        principal_for_secret(owner.secret)
    assert "revoked" in command("list", "--tenant", "acme")[0]


@pytest.mark.parametrize(
    "arguments",
    [
        ["issue", "--tenant", "nobody", "--name", "x"],
        ["issue", "--tenant", "acme", "--name", "x", "--scopes", "root"],
        ["issue", "--tenant", "acme", "--name", "x", "--rpm", "-1"],
        ["issue", "--tenant", "acme"],
        ["revoke", "agw_nothing"],
        ["list", "--tenant", "nobody"],
        [],
    ],
)
def test_the_command_says_what_is_wrong(tenant: Tenant, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        command(*arguments)
    assert not ApiKey.objects.exists()
