"""Responses and conversations in the admin."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.test import Client as Browser

from core_app import database
from responses_app.models import Conversation, StoredResponse
from tenants_app.models import AuditEntry, Tenant
from tenants_app.principal import TENANT_SCOPES
from tests.admin.conftest import XSS, signed_in
from tests.faces.inference.scripted import scripted
from tests.gateway_harness import Client, GatewayHarness
from tests.responses.conftest import URL, finished, posted, streamed, whole

pytestmark = pytest.mark.django_db(transaction=True)

RESPONSES, TALKS = "/admin/responses_app/storedresponse/", "/admin/responses_app/conversation/"


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


async def act(browser: Browser, page: str, action: str, pk: int) -> str:
    form = {"action": action, "_selected_action": [pk], "confirmed": "yes", "text": "too long"}
    answer = await in_thread(browser.post, page, form, follow=True)
    assert answer.status_code == 200
    return str(answer.content.decode())


async def test_rows_are_shown_to_the_tenants_people_only(
    api: Client, person: Browser, outsider: Browser, settings: Any
) -> None:
    talk = (await api.post("/v1/conversations", {"items": [{"role": "user", "content": XSS}]})).json["id"]
    async with scripted(settings, whole(XSS)):
        response = (await api.post(URL, {"model": "c:m", "input": XSS, "conversation": talk})).json["id"]
    pk, talk_pk = (await StoredResponse.objects.aget()).pk, (await Conversation.objects.aget()).pk
    pages = (RESPONSES, f"{RESPONSES}?status=completed", f"{RESPONSES}{pk}/change/", TALKS, f"{TALKS}{talk_pk}/change/")
    for page in pages:
        shown = await in_thread(person.get, page)
        assert shown.status_code == 200, page
        assert XSS not in shown.content.decode()
        assert (response if "stored" in page else talk) in shown.content.decode()
        theirs = await in_thread(outsider.get, page)
        assert theirs.status_code == (404 if "change" in page else 200)
        assert response not in theirs.content.decode()
        assert talk not in theirs.content.decode()


async def test_a_response_is_cancelled_and_erased(
    api: Client, gateway: GatewayHarness, person: Browser, settings: Any
) -> None:
    gate = asyncio.Event()
    asked = {"model": "c:m", "input": "One", "background": True, "stream": True}
    async with scripted(settings, streamed("Hel", "lo", gate=gate)), posted(api, asked) as reader:
        created = await reader.next()
        await reader.next_of("response.output_text.delta")
        row = await StoredResponse.objects.aget()
        await act(person, RESPONSES, "cancel", row.pk)
        assert (await finished(api, created.data["response"]["id"]))["status"] == "cancelled"
        gate.set()
    assert "already ended" in await act(person, RESPONSES, "cancel", row.pk)
    await gateway.wait_idle()
    await act(person, RESPONSES, "erase", row.pk)
    assert not await StoredResponse.objects.aexists()
    talk = (await api.post("/v1/conversations", {})).json["id"]
    await act(person, TALKS, "erase", (await Conversation.objects.aget()).pk)
    assert (await api.get(f"/v1/conversations/{talk}")).status == 404
    actions = {entry.action async for entry in AuditEntry.objects.all()}
    assert {"response.cancel", "response.erase", "conversation.erase"} <= actions
