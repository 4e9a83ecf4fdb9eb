"""Webhooks in the operator's admin: the same services, a secret shown once, another tenant's rows nowhere."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from core_app.database import write_transaction
from core_app.sealing import unseal
from events_app import log
from events_app.models import WebhookDelivery, WebhookEndpoint
from events_app.webhooks.services import webhook_create
from sessions_app.events import SessionClosed
from sessions_app.models import AgentSession
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.models import AuditEntry, Tenant, User
from tests.conftest import Caller

pytestmark = pytest.mark.django_db

HOOKS = "/admin/events_app/webhookendpoint/"
DELIVERIES = "/admin/events_app/webhookdelivery/"
SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]{44}")
GIVEN: dict[str, Any] = {"url": "https://hooks.example.com/", "events": ["agent_end", "session_closed"]}


def signed_in(tenant: Tenant, name: str, *scopes: str) -> Client:
    client = Client()
    client.force_login(User.objects.create_user(name, tenant=tenant, is_staff=True, scopes=list(scopes)))
    return client


@pytest.fixture
def person(tenant: Tenant) -> Client:
    return signed_in(tenant, "ann", "admin")


@pytest.fixture
def endpoint(owner: Caller) -> WebhookEndpoint:
    return webhook_create(principal=owner.principal, **GIVEN).endpoint


@pytest.fixture
def session(owner: Caller, endpoint: WebhookEndpoint) -> AgentSession:
    """A session of which the endpoint is to be told."""
    session = session_create(principal=owner.principal, request=SessionRequest(model="demo:echo"))
    with write_transaction():
        log.append(session.stream_id, [SessionClosed()])
    return session


def act(client: Client, page: str, action: str, *keys: Any) -> str:
    data = {"action": action, "_selected_action": list(keys), "confirmed": "yes"}
    return client.post(page, data, follow=True).content.decode()


def test_a_webhook_is_made_and_its_secret_shown_once(person: Client, tenant: Tenant) -> None:
    data = {**GIVEN, "tenant": tenant.pk, "description": "tickets"}
    page = person.post(f"{HOOKS}add/", data)
    shown = SECRET.search(page.content.decode())
    made = WebhookEndpoint.objects.get()
    assert shown is not None
    assert unseal(made.secret) == shown[0]
    assert "no-store" in page.headers["Cache-Control"]
    assert (made.tenant_id, made.events, made.description) == (tenant.pk, GIVEN["events"], "tickets")
    for address in (HOOKS, f"{HOOKS}{made.pk}/change/"):
        text = person.get(address).content.decode()
        assert "whsec_" not in text
        assert made.secret not in text
    assert AuditEntry.objects.get(action="webhook.create").actor == "user:ann"


@pytest.mark.parametrize("url", ["http://hooks.example.com/", "https://127.0.0.1/", "no address"])
def test_an_address_that_may_not_be_called_is_refused_beside_its_field(
    person: Client, tenant: Tenant, url: str
) -> None:
    page = person.post(f"{HOOKS}add/", {**GIVEN, "tenant": tenant.pk, "url": url})
    assert "The address" in page.content.decode()
    assert WebhookEndpoint.objects.count() == 0


def test_a_webhook_is_changed_and_switched_off(person: Client, endpoint: WebhookEndpoint) -> None:
    data = {"url": "https://new.example.com/", "events": ["ask_user"], "description": "", "disabled": "on"}
    person.post(f"{HOOKS}{endpoint.pk}/change/", data)
    endpoint.refresh_from_db()
    assert (endpoint.url, endpoint.events, endpoint.disabled_reason) == (data["url"], ["ask_user"], "paused")
    assert AuditEntry.objects.filter(action="webhook.change", actor="user:ann").exists()


def test_actions_test_rotate_and_delete(person: Client, endpoint: WebhookEndpoint) -> None:
    act(person, HOOKS, "test", endpoint.pk)
    assert WebhookDelivery.objects.get().type == "test"
    shown = SECRET.search(act(person, HOOKS, "rotate", endpoint.pk))
    endpoint.refresh_from_db()
    assert shown is not None
    assert unseal(endpoint.secret) == shown[0]
    act(person, HOOKS, "remove", endpoint.pk)
    assert (WebhookEndpoint.objects.count(), WebhookDelivery.objects.count()) == (0, 0)


def test_a_dead_delivery_is_sent_again_from_its_list(person: Client, session: AgentSession) -> None:
    delivery = WebhookDelivery.objects.get()
    WebhookDelivery.objects.update(state="dead", due_at=None, settled_at="2026-01-01T00:00:00Z")
    page = person.get(f"{DELIVERIES}?state=dead&webhook={delivery.endpoint_id}").content.decode()
    assert session.public_id in page
    act(person, DELIVERIES, "redeliver", delivery.pk)
    assert WebhookDelivery.objects.get().state == "pending"


def test_another_tenants_webhooks_do_not_exist(
    other_tenant: Tenant, endpoint: WebhookEndpoint, session: AgentSession
) -> None:
    outsider = signed_in(other_tenant, "eve", "admin")
    delivery = WebhookDelivery.objects.get()
    for page in (f"{HOOKS}{endpoint.pk}/change/", f"{DELIVERIES}{delivery.pk}/change/"):
        assert outsider.get(page).status_code == 404
    for page in (HOOKS, DELIVERIES, f"{DELIVERIES}?webhook={endpoint.pk}"):
        text = outsider.get(page, follow=True).content.decode()
        assert endpoint.public_id not in text
        assert delivery.pk not in text
    act(outsider, HOOKS, "remove", endpoint.pk)
    act(outsider, DELIVERIES, "redeliver", delivery.pk)
    outsider.post(f"{HOOKS}add/", {**GIVEN, "tenant": endpoint.tenant_id, "description": ""})
    assert WebhookEndpoint.objects.get() == endpoint


def test_only_administrators_of_the_tenant_see_webhooks(tenant: Tenant, session: AgentSession) -> None:
    colleague = signed_in(tenant, "joe", "sessions", "operator")
    delivery = WebhookDelivery.objects.get()
    for page in (HOOKS, DELIVERIES, f"{HOOKS}{delivery.endpoint_id}/change/", f"{DELIVERIES}{delivery.pk}/change/"):
        assert colleague.get(page).status_code == 403


def test_a_list_asks_as_often_for_many_rows_as_for_one(person: Client, owner: Caller, session: AgentSession) -> None:
    def asked() -> int:
        with CaptureQueriesContext(connection) as captured:
            assert person.get(DELIVERIES).status_code == 200
        return len(captured)

    person.get(DELIVERIES)
    before = asked()
    with write_transaction():
        log.append(session.stream_id, [SessionClosed()] * 20)
    assert asked() == before
