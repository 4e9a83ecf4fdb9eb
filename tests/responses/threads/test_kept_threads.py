"""Threads in retention, in erasure, in exports and in the admin."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.test import Client as Browser

from core_app import clock, database
from responses_app.models import MessageThread, ThreadTurn
from sessions_app.services.erasure import end_user_erase, tenant_erase
from sessions_app.services.retention import retention_apply
from tenants_app.models import AuditEntry, Tenant
from tenants_app.principal import TENANT_SCOPES
from tests.admin.conftest import XSS, signed_in
from tests.conftest import Caller
from tests.faces.inference.scripted import scripted
from tests.gateway_harness import Client
from tests.responses.conftest import whole
from tests.responses.threads.conftest import URL, after, ask, asked, code_of

pytestmark = pytest.mark.django_db(transaction=True)

PAGE = "/admin/responses_app/messagethread/"


async def rows() -> tuple[int, int]:
    return await MessageThread.objects.acount(), await ThreadTurn.objects.acount()


async def two_turns(api: Client, settings: Any, **fields: Any) -> list[str]:
    async with scripted(settings, whole("A"), whole("B")):
        first = await ask(api, "One", **fields)
        return [first["id"], (await ask(api, "Two", after(first)))["id"]]


async def test_a_thread_is_kept_until_nobody_has_continued_it_for_long(
    api: Client, owner: Caller, settings: Any
) -> None:
    old, newest = await two_turns(api, settings), await two_turns(api, settings)
    tenant = await Tenant.objects.aget(pk=owner.principal.tenant_id)
    # The age of its first turn does not count.
    await ThreadTurn.objects.all().aupdate(created_at=clock.now() - timedelta(days=90))
    await MessageThread.objects.filter(public_id=old[0]).aupdate(updated_at=clock.now() - timedelta(days=31))
    await database.run(retention_apply, tenant=tenant)
    assert await rows() == (1, 2)
    async with scripted(settings, whole("C")):
        assert code_of(await api.post(URL, asked("Three", after({"id": old[1]})))) == (404, "thread_not_found")
        await ask(api, "Three", after({"id": newest[1]}))


async def test_an_end_users_threads_are_erased_and_no_others(api: Client, owner: Caller, settings: Any) -> None:
    await two_turns(api, settings, metadata={"user_id": "ann"})
    await two_turns(api, settings, metadata={"user_id": "bob"})
    tenant = await Tenant.objects.aget(pk=owner.principal.tenant_id)
    await database.run(end_user_erase, tenant_id=tenant.pk, end_user="ann", actor="test")
    assert [thread.end_user async for thread in MessageThread.objects.all()] == ["bob"]
    assert await rows() == (1, 2)
    await database.run(tenant_erase, tenant=tenant, actor="test")
    assert await rows() == (0, 0)


async def test_an_export_has_the_turns_of_the_tenant_or_of_an_end_user(
    api: Client, owner: Caller, settings: Any
) -> None:
    theirs = await two_turns(api, settings, metadata={"user_id": "ann"}, system="Be kind.")
    others = await two_turns(api, settings)

    async def exported(**options: Any) -> list[Any]:
        out = io.StringIO()
        await database.run(call_command, "export", tenant=owner.principal.tenant_slug, stdout=out, **options)
        lines = [line for line in map(json.loads, out.getvalue().splitlines()) if line["kind"] == "message"]
        return [(line["id"], line["thread"], line["messages"][0]["content"], line.get("system")) for line in lines]

    ann = [(theirs[0], theirs[0], "One", "Be kind."), (theirs[1], theirs[0], "Two", None)]
    assert await exported(end_user="ann") == ann
    assert await exported() == [*ann, (others[0], others[0], "One", None), (others[1], others[0], "Two", None)]


async def test_threads_are_shown_to_the_tenants_people_only_and_erased(
    api: Client, tenant: Tenant, other_tenant: Tenant, settings: Any
) -> None:
    def person(name: str, of: Tenant) -> Browser:
        return signed_in(username=name, tenant=of, is_staff=True, scopes=list(TENANT_SCOPES))

    ann = await database.run(person, "ann", tenant)
    bob = await database.run(person, "bob", other_tenant)
    first, second = await two_turns(api, settings, system=XSS)
    row = await MessageThread.objects.aget()
    for page in (PAGE, f"{PAGE}?q={second}", f"{PAGE}{row.pk}/change/"):
        shown = await database.run(ann.get, page)
        assert shown.status_code == 200, page
        assert first in shown.content.decode()
        assert XSS not in shown.content.decode()
        theirs = await database.run(bob.get, page)
        assert theirs.status_code == (404 if "change" in page else 200)
        assert first not in theirs.content.decode()
    form = {"action": "erase", "_selected_action": [row.pk], "confirmed": "yes", "text": ""}
    assert (await database.run(lambda: ann.post(PAGE, form, follow=True))).status_code == 200
    assert await rows() == (0, 0)
    assert await AuditEntry.objects.filter(action="thread.erase", target=first).aexists()
