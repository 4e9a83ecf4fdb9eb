"""Tests of roles in the admin: nobody grants scopes that they lack, and secrets are shown once."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from core_app import clock
from tenants_app.authentication import principal_for_secret
from tenants_app.models import ApiKey, AuditEntry, Tenant, User
from tenants_app.principal import SCOPES, TENANT_SCOPES
from tenants_app.services import api_key_issue
from tests.admin.conftest import Scoped, act
from tests.conftest import Caller, caller

pytestmark = pytest.mark.django_db

KEYS = "/admin/tenants_app/apikey/"
USERS = "/admin/tenants_app/user/"
SECRET = re.compile(r"agw_[A-Za-z0-9_-]{43}")


def test_a_new_keys_secret_is_on_one_page_and_in_no_cookie(person: Client, tenant: Tenant) -> None:
    answer = person.post(f"{KEYS}add/", {"tenant": tenant.pk, "name": "builds", "scopes": ["sessions"], "rpm": ""})
    secret = SECRET.search(answer.content.decode())
    assert secret is not None
    assert "no-store" in answer.headers["Cache-Control"]
    assert secret[0] not in str(answer.cookies) + str(dict(person.session))
    assert principal_for_secret(secret[0]).scopes == {"sessions"}
    for page in (
        "/admin/",
        KEYS,
        f"{KEYS}{ApiKey.objects.get().pk}/change/",
        f"{KEYS}{ApiKey.objects.get().pk}/history/",
    ):
        assert secret[0] not in person.get(page).content.decode()
    assert secret[0] not in str(list(AuditEntry.objects.values()))


def test_nobody_gives_a_key_more_than_they_hold(scoped: Scoped, tenant: Tenant) -> None:
    client = scoped("admin", "sessions")
    assert "platform" not in client.get(f"{KEYS}add/").content.decode()
    for scopes in (["platform"], ["sessions", "operator"]):
        client.post(f"{KEYS}add/", {"tenant": tenant.pk, "name": "x", "scopes": scopes, "rpm": ""})
    assert not ApiKey.objects.exists()


def test_a_key_is_made_in_the_own_tenant_only(person: Client, other_tenant: Tenant) -> None:
    person.post(f"{KEYS}add/", {"tenant": other_tenant.pk, "name": "x", "scopes": ["sessions"], "rpm": ""})
    assert not ApiKey.objects.exists()


def test_a_key_that_may_more_is_not_got_hold_of(person: Client, tenant: Tenant) -> None:
    mighty = caller(tenant, SCOPES)
    key = ApiKey.objects.get()
    page = act(person, KEYS, "rotate", key)
    assert "may do more than you" in page.content.decode()
    assert SECRET.search(page.content.decode()) is None
    assert person.post(f"{KEYS}{key.pk}/change/", {"name": "mine", "scopes": ["sessions"]}).status_code == 403
    assert principal_for_secret(mighty.secret).scopes == set(SCOPES)
    act(person, KEYS, "revoke", key)
    assert principal_for_secret(mighty.secret).scopes == set(SCOPES)


def test_another_tenants_key_is_neither_rotated_nor_revoked(outsider: Client, owner: Caller) -> None:
    for action in ("rotate", "revoke"):
        act(outsider, KEYS, action, ApiKey.objects.get())
    assert principal_for_secret(owner.secret)


def test_an_expiry_that_has_passed_is_an_error_of_the_form(root: Client, tenant: Tenant) -> None:
    data = {"tenant": tenant.pk, "name": "x", "expires_at_0": "2020-01-01", "expires_at_1": "00:00:00"}
    answer = root.post(f"{KEYS}add/", data)
    assert answer.status_code == 200
    assert "would have expired already" in answer.content.decode()


def test_a_tenants_person_changes_neither_tenants_nor_users(person: Client, tenant: Tenant) -> None:
    ann = User.objects.get(username="ann")
    pages = [f"/admin/tenants_app/tenant/{tenant.pk}/change/", f"{USERS}{ann.pk}/change/"]
    for page in pages:
        assert person.post(page, {"is_superuser": "on", "slug": "x", "name": "x"}).status_code == 403
    assert person.get(f"{USERS}add/").status_code == 403
    assert person.post(f"{USERS}{ann.pk}/password/", {"password1": "pass-word-17"}).status_code == 403
    assert person.post("/admin/tenants_app/tenant/add/", {"slug": "x", "name": "x"}).status_code == 403
    ann.refresh_from_db()
    assert not ann.is_superuser
    assert ann.password not in person.get(f"{USERS}{ann.pk}/change/").content.decode()


def test_scopes_of_a_person_are_check_boxes(root: Client, tenant: Tenant) -> None:
    user = User.objects.create_user("joe", tenant=tenant, scopes=["admin"])
    text = root.get(f"{USERS}{user.pk}/change/").content.decode()
    assert len(re.findall(r'<input type="checkbox" name="scopes"', text)) == len(SCOPES)
    joined = {"date_joined_0": "2026-01-01", "date_joined_1": "00:00:00"}
    data = {"username": "joe", "is_active": "on", "is_staff": "on", "tenant": tenant.pk, **joined}
    root.post(f"{USERS}{user.pk}/change/", {**data, "scopes": ["operator", "sessions"]})
    user.refresh_from_db()
    assert sorted(user.scopes) == ["operator", "sessions"]
    assert sorted(AuditEntry.objects.get(action="user.update").detail["scopes"]) == ["operator", "sessions"]


def test_staff_that_could_see_nothing_is_refused(root: Client, tenant: Tenant) -> None:
    data = {"username": "joe", "usable_password": "true", "password1": "pass-word-17", "password2": "pass-word-17"}
    assert "needs a tenant" in root.post(f"{USERS}add/", {**data, "is_staff": "on"}).content.decode()
    assert "needs it to sign in" in root.post(f"{USERS}add/", {**data, "is_superuser": "on"}).content.decode()
    assert not User.objects.filter(username="joe").exists()
    root.post(f"{USERS}add/", {**data, "is_staff": "on", "tenant": tenant.pk, "scopes": ["operator"]})
    joe = User.objects.get(username="joe")
    assert (joe.is_staff, joe.tenant, joe.scopes) == (True, tenant, ["operator"])


def test_every_scope_says_what_it_is_for(root: Client) -> None:
    text = root.get(f"{KEYS}add/").content.decode()
    for scope in SCOPES:
        assert re.search(rf"\n?\s*{scope}: \w+", text), scope


def test_when_somebody_signed_in_is_not_edited(root: Client) -> None:
    own = User.objects.get(username="root")
    text = root.get(f"{USERS}{own.pk}/change/").content.decode()
    assert "Last login" in text
    assert 'name="last_login_0"' not in text


@pytest.mark.parametrize("state", ["active", "revoked", "expired", "seeded"])
def test_keys_are_found_by_their_state(root: Client, tenant: Tenant, state: str) -> None:
    now = clock.now()
    states: dict[str, dict[str, Any]] = {
        "active": {"expires_at": now + timedelta(days=1)},
        "revoked": {"revoked_at": now, "expires_at": now - timedelta(days=1)},
        "expired": {"expires_at": now - timedelta(days=1)},
        "seeded": {"seeded": True},
    }
    for name, values in states.items():
        key = api_key_issue(tenant=tenant, name=f"key {name}.", scopes=["sessions"]).key
        ApiKey.objects.filter(pk=key.pk).update(**values)
    text = root.get(KEYS, {"state": state}).content.decode()
    found = {name for name in ("active", "revoked", "expired", "seeded") if f"key {name}." in text}
    assert found == ({state, "seeded"} if state == "active" else {state})


def test_a_changed_password_is_audited_and_not_told(root: Client, tenant: Tenant) -> None:
    user = User.objects.create_user("joe", tenant=tenant)
    words = {"password1": "pass-word-17", "password2": "pass-word-17", "usable_password": "true"}
    root.post(f"{USERS}{user.pk}/password/", words)
    user.refresh_from_db()
    assert user.check_password("pass-word-17")
    entry = AuditEntry.objects.get(action="user.password")
    assert (entry.actor, entry.target, entry.detail) == ("user:root", "joe", {"usable": True})


def test_who_runs_the_gateway_cannot_be_deleted_by_themselves(root: Client) -> None:
    own = User.objects.get(username="root")
    assert root.post(f"{USERS}{own.pk}/delete/", {"post": "yes"}).status_code == 403
    root.post(USERS, {"action": "delete_selected", "_selected_action": [own.pk], "post": "yes"})
    assert User.objects.filter(username="root").exists()


def test_every_scope_but_the_platforms_is_a_tenants(person: Client) -> None:
    text = person.get(f"{KEYS}add/").content.decode()
    assert all(f'value="{scope}"' in text for scope in TENANT_SCOPES)


def test_staff_revoke_and_rotate_no_key_that_has_more_than_they(scoped: Scoped, tenant: Tenant) -> None:
    client = scoped("admin")
    mighty = api_key_issue(tenant=tenant, name="mighty", scopes=SCOPES).key
    weak = api_key_issue(tenant=tenant, name="weak", scopes=["admin"]).key
    for action in ("revoke", "rotate"):
        assert "mighty may do more than you" in act(client, KEYS, action, mighty).content.decode()
    mighty.refresh_from_db()
    assert mighty.revoked_at is None
    act(client, KEYS, "revoke", weak)
    weak.refresh_from_db()
    assert weak.revoked_at is not None
    assert AuditEntry.objects.filter(action__in=["api_key.revoke", "api_key.rotate"]).count() == 1


@pytest.mark.parametrize(("given", "stored"), [("5", 5), ("600", 600), ("601", None), ("0", None), ("", "default")])
def test_staff_issue_keys_with_at_most_the_rate_of_the_gateway(
    person: Client, tenant: Tenant, settings: Any, given: str, stored: int | str | None
) -> None:
    settings.GATEWAY_RATE_LIMIT_RPM = 600
    answer = person.post(f"{KEYS}add/", {"tenant": tenant.pk, "name": "new", "scopes": ["sessions"], "rpm": given})
    found = ApiKey.objects.filter(name="new").first()
    assert (found is None) == (stored is None)
    if found is not None:
        assert found.rpm == (None if stored == "default" else stored)
    else:
        assert "You may set at most 600 requests per minute" in answer.content.decode()


@pytest.mark.parametrize(("given", "stored"), [("5", 5), ("50", 50), ("51", 50), ("0", 50), ("", 50)])
def test_staff_lower_a_keys_rate_and_do_not_raise_it(
    person: Client, root: Client, tenant: Tenant, given: str, stored: int
) -> None:
    key = api_key_issue(tenant=tenant, name="ci", scopes=["sessions"], rpm=50).key
    page = f"{KEYS}{key.pk}/change/"
    person.post(page, {"name": "ci", "scopes": ["sessions"], "rpm": given})
    key.refresh_from_db()
    assert key.rpm == stored
    root.post(page, {"name": "ci", "scopes": ["sessions"], "rpm": "0"})
    key.refresh_from_db()
    assert key.rpm == 0


def test_a_tenants_limits_are_set_by_superusers_alone(person: Client, root: Client, tenant: Tenant) -> None:
    page = f"/admin/tenants_app/tenant/{tenant.pk}/change/"
    given = {"name": tenant.name, "rpm": "7"}
    assert person.post(page, given).status_code == 403
    assert root.post(page, given).status_code == 302
    tenant.refresh_from_db()
    assert tenant.settings == {"rpm": 7}
    for wrong in ("-1", "many", "1.5", "9" * 30):
        assert "errorlist" in root.post(page, {**given, "rpm": wrong}).content.decode()
        tenant.refresh_from_db()
        assert tenant.settings == {"rpm": 7}


def test_a_tenants_settings_are_typed_fields(root: Client, tenant: Tenant) -> None:
    page = f"/admin/tenants_app/tenant/{tenant.pk}/change/"
    issuer = {"issuer": "https://id.example.com", "audience": "gateway", "jwks_url": "https://id.example.com/keys"}
    jwt = {**issuer, "claims": {"end_user": "email"}, "scopes": {"developer": ["sessions", "inference"]}}
    settings = {"store_responses": False, "default_model": "demo:tour", "max_sessions": 5, "jwt": jwt}
    Tenant.objects.filter(pk=tenant.pk).update(settings={**settings, "of_a_newer_version": [1]})
    shown = root.get(page)
    form = shown.context["adminform"].form
    given = {name: form[name].initial for name in form.fields if form[name].initial not in (None, False)}
    assert given["store_responses"] == "no"
    assert given["jwt_scopes"] == "developer = sessions, inference"
    assert root.post(page, {**given, "max_sessions": "6", "approvals_in_sessions": "yes"}).status_code == 302
    tenant.refresh_from_db()
    changed = {"max_sessions": 6, "approvals_in_sessions": True, "of_a_newer_version": [1]}
    assert tenant.settings == {**settings, **changed}
    assert root.post(page, {"name": tenant.name}).status_code == 302
    tenant.refresh_from_db()
    assert tenant.settings == {"of_a_newer_version": [1]}


def test_an_issuer_that_is_not_whole_is_refused_in_the_form(root: Client, tenant: Tenant) -> None:
    page = f"/admin/tenants_app/tenant/{tenant.pk}/change/"
    for given in ({"jwt_issuer": "https://id.example.com"}, {"jwt_scopes": "developer"}):
        answer = root.post(page, {"name": tenant.name, **given})
        assert (answer.status_code, "errorlist" in answer.content.decode()) == (200, True)
    tenant.refresh_from_db()
    assert tenant.settings == {}
