"""A tenant's staff, with any scopes, at another tenant's rows: every registered admin, every page and action.

Also what pages are protected by against other sites: CSRF tokens, origins, frames, and where a sign-in leads.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.admin import ModelAdmin
from django.test import Client

from admin_app.site import SITE
from agents_app.models import Agent, AgentState
from core_app import jsontext
from events_app.webhooks.models import WebhookDelivery, WebhookEndpoint
from faces.mesh.models import RoutingRule, Space, Task
from inference_app.models import Alias, Budget, Price, Provider, Route, TenantModels
from responses_app.models import Conversation, MessageThread, StoredResponse, ThreadTurn
from sessions_app.models import AgentSession
from tenants_app.models import Device, Membership, Tenant, User
from tenants_app.principal import TENANT_SCOPES
from tenants_app.services.connection_token import connection_token_issue
from tenants_app.services.membership import role_give, role_take
from tests.admin.conftest import CALLS, Waiting, act, person, root, signed_in, waiting, waiting_made
from tests.conftest import Caller
from tools_app.models import McpServer, McpServerState, SessionTool, ToolCall

__all__ = ["person", "root", "waiting"]

pytestmark = pytest.mark.django_db

ADMINS: list[ModelAdmin[Any]] = list(SITE._registry.values())
SECRET, PART = "only-acmes-own", "only-acmes"
"""In a text of every row of tenant `acme`."""

SCOPE_SETS = [(), ("sessions",), ("approvals",), ("operator",), ("admin",), TENANT_SCOPES]


def ids(admin: ModelAdmin[Any]) -> str:
    return admin.opts.label_lower


@pytest.fixture
def rows(waiting: Waiting, person: Client, tenant: Tenant, owner: Caller) -> Waiting:
    """At least one row of the tenant for every admin."""
    User.objects.filter(username="ann").update(first_name=SECRET, email=f"{SECRET}@example.com")
    Tenant.objects.filter(pk=tenant.pk).update(name=SECRET)
    tool = {"tenant": tenant, "stream_id": waiting.session.stream_id, "name": SECRET, "description": SECRET}
    SessionTool.objects.create(**tool, parameters="{}", callback_url=f"https://{SECRET}.example.com/")
    hook = WebhookEndpoint.objects.create(
        tenant=tenant, url=f"https://{SECRET}.example.com/", secret="x", events=["agent_end"], description=SECRET
    )
    WebhookDelivery.objects.create(endpoint=hook, type="test", due_at=0)
    Membership.objects.create(tenant=tenant, user=User.objects.create_user(SECRET), role="viewer")
    Device.objects.create(tenant=tenant, device_id=SECRET, public_key="A" * 44)
    connection_token_issue(principal=owner.principal, method="token", client_id=SECRET)
    Provider.objects.create(name=SECRET, entry={})
    Route.objects.create(prefix=SECRET, providers=[])
    Alias.objects.create(name=SECRET, targets=[])
    Price.objects.create(provider=SECRET, model="m", input=1, output=1)
    TenantModels.objects.create(tenant=tenant, patterns=[SECRET])
    Budget.objects.create(tenant=tenant, model=SECRET, period="day", tokens=1)
    Agent.objects.create(tenant=tenant, public_id=SECRET, name=SECRET, type="model", entry={"env": {"KEY": SECRET}})
    AgentState.objects.create(tenant=tenant, agent_id=SECRET)
    McpServer.objects.create(tenant=tenant, name=SECRET, url=f"https://{SECRET}.example.com/", description=SECRET)
    McpServerState.objects.create(tenant=tenant, name=SECRET, state="ok", reason=SECRET)
    space = Space.objects.create(tenant=tenant, public_id=SECRET, metadata=jsontext.encode_text({"name": SECRET}))
    Task.objects.create(tenant=tenant, public_id=SECRET, body="{}", prompt=SECRET, result=f'"{SECRET}"', space=space)
    talk = Conversation.objects.create(tenant=tenant, public_id=SECRET, metadata=jsontext.encode_text({"a": SECRET}))
    StoredResponse.objects.create(
        tenant=tenant, public_id=SECRET, model=SECRET, input="[]", body="{}", conversation=talk, end_user=SECRET
    )
    thread = MessageThread.objects.create(
        tenant=tenant, public_id=SECRET, context=jsontext.encode_text({"system": f'"{SECRET}"'}), end_user=SECRET
    )
    ThreadTurn.objects.create(
        tenant=tenant, thread=thread, number=1, public_id=SECRET, model=SECRET, messages="[]", reply="[]", body="{}"
    )
    RoutingRule.objects.create(tenant=tenant, name=SECRET, keywords=[SECRET], agents=[SECRET])
    return waiting


def stored() -> dict[str, Any]:
    """Every row of every table that has an admin, but those that the request of a page itself may touch."""
    models = [model for model in apps.get_models() if model in SITE._registry]
    return {
        model._meta.label: list(model._default_manager.order_by("pk").values())
        for model in models
        if model._meta.label != "tenants_app.AuditEntry"
    }


def addresses(admin: ModelAdmin[Any], row: Any, tenant: Tenant) -> Iterator[str]:
    home = f"/admin/{admin.opts.app_label}/{admin.opts.model_name}/"
    yield from (home, f"{home}?q={PART}", f"{home}?q={row.pk}", f"{home}?tenant={tenant.pk}", f"{home}?id={row.pk}")
    yield from (f"{home}?pk__in={row.pk}", f"{home}?o=1", f"{home}?p=0&all=", f"{home}add/?tenant={tenant.pk}")
    yield from (f"{home}{row.pk}/{page}/" for page in ("change", "delete", "history"))
    yield f"{home}{row.pk}/"
    for field in ("tenant", "api_key", "endpoint"):
        yield (
            f"/admin/autocomplete/?term={PART}&app_label={admin.opts.app_label}"
            f"&model_name={admin.opts.model_name}&field_name={field}"
        )


@pytest.mark.parametrize("scopes", SCOPE_SETS, ids=lambda scopes: "+".join(scopes) if len(scopes) < 2 else "all")
def test_no_row_of_another_tenant_is_seen_or_changed(
    rows: Waiting, other_tenant: Tenant, tenant: Tenant, scopes: tuple[str, ...]
) -> None:
    client = signed_in(username="eve", is_staff=True, tenant=other_tenant, scopes=list(scopes))
    attack(client, rows, tenant)


def test_a_role_in_one_tenant_reaches_no_row_of_the_tenant_that_was_chosen_before(
    rows: Waiting, other_tenant: Tenant, tenant: Tenant
) -> None:
    """The person is no staff, administers another tenant, and chose this one while there was a role in it."""
    client = signed_in(username="eve")
    eve = User.objects.get(username="eve")
    role_give(user=eve, tenant=other_tenant, role="admin")
    role_give(user=eve, tenant=tenant, role="admin")
    client.post("/console/tenant", {"tenant": tenant.slug})
    assert client.get(rows.page).status_code == 200
    role_take(membership=Membership.objects.get(user=eve, tenant=tenant))
    assert client.get("/admin/").status_code == 200
    attack(client, rows, tenant)


def attack(client: Client, rows: Waiting, tenant: Tenant) -> None:
    """Opens every page of the tenant's rows and posts to it, as `eve`, who is of another."""
    before = stored()
    for admin in ADMINS:
        row = admin.model._default_manager.order_by("pk").first()
        assert row is not None
        for address in addresses(admin, row, tenant):
            answer = client.get(address, follow=True)
            text = answer.content.decode()
            assert answer.status_code < 500, address
            assert SECRET not in text, address
            assert rows.session.public_id not in text, address
        home = f"/admin/{admin.opts.app_label}/{admin.opts.model_name}/"
        names = {"delete_selected", *(name for name in admin.actions or () if isinstance(name, str))}
        for action in sorted(names):
            given: dict[str, Any] = {
                "action": action,
                "_selected_action": [row.pk],
                "confirmed": "yes",
                "post": "yes",
                "text": "x",
            }
            answer = client.post(home, given, follow=True)
            assert answer.status_code < 500, (home, action)
            assert SECRET not in answer.content.decode(), (home, action)
        for page in ("change", "delete"):
            form: dict[str, Any] = {
                "name": "eve",
                "tenant": tenant.pk,
                "post": "yes",
                "scopes": ["admin"],
                "username": "eve2",
            }
            assert client.post(f"{home}{row.pk}/{page}/", form).status_code in (403, 404), (home, page)
    after = stored()
    eve = User.objects.get(username="eve").pk
    for rows_of in (before, after):
        rows_of["tenants_app.User"] = [row for row in rows_of["tenants_app.User"] if row["id"] != eve]
    assert after == before


def test_every_admin_has_a_row_to_attack(rows: Waiting) -> None:
    assert [ids(admin) for admin in ADMINS if not admin.model._default_manager.exists()] == []


@pytest.mark.parametrize("token", [None, "", "made-up", "x" * 64])
def test_a_form_without_its_token_changes_nothing(rows: Waiting, token: str | None) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("boss", is_staff=True, is_superuser=True))
    before = stored()
    headers = {} if token is None else {"X-CSRFToken": token}
    for admin in ADMINS:
        home = f"/admin/{admin.opts.app_label}/{admin.opts.model_name}/"
        given = {"name": "x", "slug": "x", "csrfmiddlewaretoken": token or ""}
        assert client.post(f"{home}add/", given, headers=headers).status_code == 403, home
        assert client.post(home, {"action": "delete_selected", **given}, headers=headers).status_code == 403, home
    for page in ("logout", "password_change"):
        assert client.post(f"/admin/{page}/", {}, headers=headers).status_code == 403, page
    assert stored() == before


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://testserver.evil.example", "http://testserver:81"]
)
def test_a_form_from_another_origin_is_refused(rows: Waiting, origin: str) -> None:
    client = Client(enforce_csrf_checks=True)
    User.objects.create_superuser("boss", password="pass-word-17")
    client.get("/admin/login/")
    given = {
        "username": "boss",
        "password": "pass-word-17",
        "csrfmiddlewaretoken": client.cookies["gateway_csrf"].value,
    }
    assert client.post("/admin/login/", given, headers={"Origin": origin}).status_code == 403
    assert client.post("/admin/login/", given, headers={"Origin": "http://testserver"}).status_code == 302


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example/",
        "//evil.example",
        "\\\\evil.example",
        "/\\evil.example",
        "javascript:alert(1)",
        "http:evil",
    ],
)
def test_a_sign_in_leads_nowhere_else(db: None, address: str) -> None:
    User.objects.create_superuser("boss", password="pass-word-17")
    given = {"username": "boss", "password": "pass-word-17", "next": address}
    location = Client().post("/admin/login/", given).headers["Location"]
    assert location == "/admin/"


def test_a_link_signs_nobody_out_and_no_page_is_framed_or_kept(root: Client) -> None:
    assert root.get("/admin/logout/").status_code == 405
    answer = root.get("/admin/")
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Referrer-Policy"] == "same-origin"


def test_what_clients_wrote_is_no_markup_on_the_pages_of_decisions(root: Client, owner: Caller) -> None:
    """tests/admin/test_pages.py looks at all pages; here with quotes and the ends of elements."""
    waiting = waiting_made(owner)
    hostile = "'\"></pre></textarea></script><img src=x onerror=alert(1)>"
    AgentSession.objects.update(title=hostile)
    options = jsontext.encode_text([{"id": hostile, "label": hostile}])
    ToolCall.objects.filter(pk=waiting.question.pk).update(question=hostile, options=options)
    ToolCall.objects.filter(pk=waiting.approval.pk).update(
        args=jsontext.encode_text({hostile: hostile}), approval_hint=hostile
    )
    pages = [
        root.get(waiting.page),
        root.get(f"{CALLS}{waiting.question.pk}/change/"),
        root.get(f"{CALLS}{waiting.approval.pk}/change/"),
        root.get(CALLS),
        root.get("/admin/"),
        act(root, CALLS, "approve", waiting.approval, confirmed=False),
        act(root, CALLS, "answer", waiting.question, confirmed=False),
    ]
    for page in pages:
        assert "<img src=x" not in page.content.decode()
        assert "&lt;img src=x" in page.content.decode()
