"""Retention and erasure of stored responses and conversations."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command

from core_app import clock, database
from events_app.models import Event, Stream
from responses_app.models import Conversation, ConversationItem, StoredResponse
from sessions_app.models import AgentSession
from sessions_app.services.erasure import end_user_erase, tenant_erase
from sessions_app.services.retention import retention_apply
from tenants_app.models import Tenant
from tests.conftest import Caller
from tests.faces.inference.scripted import scripted
from tests.gateway_harness import Client, GatewayHarness
from tests.responses.conftest import URL, finished, streamed

pytestmark = pytest.mark.django_db(transaction=True)

TABLES = (StoredResponse, Conversation, ConversationItem, AgentSession, Event, Stream)


async def rows() -> dict[str, int]:
    return {table.__name__: await table.objects.acount() for table in TABLES}


async def respond(api: Client, settings: Any, **fields: Any) -> str:
    asked = {"model": "c:m", "input": "One", "background": True, "stream": True, **fields}
    async with scripted(settings, streamed("Hi")):
        answer = await api.post(URL, asked)
        created = next(line for line in answer.body.split(b"\n") if line.startswith(b"data: "))
    return str(json.loads(created[6:])["response"]["id"])


async def test_old_responses_and_conversations_are_removed_with_all_that_was_kept(
    api: Client, owner: Caller, settings: Any
) -> None:
    conversation = (await api.post("/v1/conversations", {"items": [{"role": "user", "content": "x"}]})).json["id"]
    await respond(api, settings, conversation=conversation)
    tenant = await Tenant.objects.aget(pk=owner.principal.tenant_id)
    await database.run(retention_apply, tenant=tenant)
    assert (await rows())["StoredResponse"] == 1
    for table in (StoredResponse, Conversation):
        await table.objects.all().aupdate(updated_at=clock.now() - timedelta(days=31))
    await database.run(retention_apply, tenant=tenant)
    assert set((await rows()).values()) == {0}


async def test_an_end_users_responses_are_erased_and_no_others(
    api: Client, gateway: GatewayHarness, owner: Caller, settings: Any
) -> None:
    conversation = (await api.post("/v1/conversations", {})).json["id"]
    theirs = await respond(api, settings, safety_identifier="ann", conversation=conversation)
    others = await respond(api, settings, user="bob")
    await gateway.wait_idle()
    tenant_id = owner.principal.tenant_id
    await database.run(end_user_erase, tenant_id=tenant_id, end_user="ann", actor="test")
    assert (await api.get(f"{URL}/{theirs}")).status == 404
    assert (await api.get(f"/v1/conversations/{conversation}")).status == 404
    assert (await finished(api, others))["status"] == "completed"


async def test_an_export_has_responses_and_conversations_of_the_tenant_or_of_an_end_user(
    api: Client, gateway: GatewayHarness, owner: Caller, settings: Any
) -> None:
    first = (await api.post("/v1/conversations", {"items": [{"role": "user", "content": "x"}]})).json["id"]
    second = (await api.post("/v1/conversations", {})).json["id"]
    theirs = await respond(api, settings, user="ann", conversation=second)
    others = await respond(api, settings)
    await gateway.wait_idle()

    async def exported(**options: Any) -> dict[str, list[str]]:
        out = io.StringIO()
        await database.run(call_command, "export", tenant=owner.principal.tenant_slug, stdout=out, **options)
        found: dict[str, list[str]] = {"response": [], "conversation": []}
        for line in map(json.loads, out.getvalue().splitlines()):
            if line["kind"] in found:
                found[line["kind"]].append(line["id"])
        return found

    assert await exported() == {"response": [theirs, others], "conversation": [first, second]}
    assert await exported(end_user="ann") == {"response": [theirs], "conversation": [second]}
    assert await exported(session="none") == {"response": [], "conversation": []}


async def test_a_tenants_erasure_leaves_nothing(
    api: Client, gateway: GatewayHarness, owner: Caller, settings: Any
) -> None:
    await api.post("/v1/conversations", {"items": [{"role": "user", "content": "x"}]})
    await respond(api, settings)
    await gateway.wait_idle()
    tenant = await Tenant.objects.aget(pk=owner.principal.tenant_id)
    await database.run(tenant_erase, tenant=tenant, actor="test")
    assert set((await rows()).values()) == {0}
