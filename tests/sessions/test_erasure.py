"""Erasure and export of sessions, end users and tenants. The ledger and the audit stay."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import connection

from agents_app.engine import Completion, Failed, Finished, Leg, LegOutcome, ToolRequest, Waiting
from core_app import database
from core_app.ids import new_id
from events_app.models import Event
from sessions_app.models import AgentSession, Run
from sessions_app.services.erasure import end_user_erase, session_erase, tenant_erase
from tenants_app.models import AuditEntry, LedgerEntry, Tenant
from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness
from tests.scripted_engine import USAGE, Gate, ScriptedEngine, echo, gated_leg, say

pytestmark = pytest.mark.django_db(transaction=True)

SECRET = "Rumpelstiltskin"
KEPT = {"LedgerEntry", "AuditEntry"}


def found_anywhere(word: str) -> set[str]:
    """Returns the tables in which a text contains `word`."""
    tables = set()
    for model in apps.get_models():
        for field in model._meta.get_fields():
            column = getattr(field, "column", None)
            if column is None or field.get_internal_type() not in ("CharField", "TextField", "JSONField"):
                continue
            with connection.cursor() as cursor:
                cursor.execute(
                    f'SELECT 1 FROM {model._meta.db_table} WHERE CAST("{column}" AS text) LIKE %s LIMIT 1',
                    [f"%{word}%"],
                )
                if cursor.fetchone():
                    tables.add(model.__name__)
    return tables


async def test_a_purged_session_leaves_its_words_nowhere(api: Client, tenant: Tenant) -> None:
    fields = {"sessionId": f"of-{SECRET}", "systemPrompt": SECRET, "groupId": "together", "title": SECRET}
    body = {"model": "demo:echo", "userData": {"name": SECRET}, **fields}
    made = await api.post("/v1/sessions", body, headers={"Idempotency-Key": "made"})
    session = made.json["sessionId"]
    await api.run(session, f"my name is {SECRET}", endUser=SECRET)
    prompt = f"/v1/sessions/{session}/prompt", {"text": "hello"}
    prompted = await api.post(*prompt, headers={"Idempotency-Key": "prompted"})
    await api.follow_run(session, prompted.json["requestId"])
    assert "Event" in await database.run(found_anywhere, SECRET)
    assert (await api.delete(f"/v1/sessions/{session}?purge=true")).status == 204
    assert (await api.get(f"/v1/sessions/{session}")).status == 404
    left = await database.run(found_anywhere, SECRET)
    assert left <= {"AuditEntry"}, left
    assert (await api.post(*prompt, headers={"Idempotency-Key": "prompted"})).error == (404, "session_not_found")
    assert await database.run(LedgerEntry.objects.filter(tenant=tenant).count) == 2
    assert await database.run(AuditEntry.objects.filter(action="session.erase").count) == 1
    assert await database.run(Event.objects.count) == 0


async def test_purging_needs_the_scope_admin(api: Client, gateway: GatewayHarness, tenant: Tenant) -> None:
    from tests.conftest import caller

    session = await api.session()
    limited = gateway.client(await database.run(caller, tenant, ("sessions",)))
    assert (await limited.delete(f"/v1/sessions/{session}?purge=true")).error == (403, "forbidden")
    assert (await limited.delete(f"/v1/sessions/{session}")).status == 204


async def test_a_running_session_is_purged_and_its_followers_end(api: Client, script: ScriptedEngine) -> None:
    gate = Gate()
    script.behaviour = gated_leg(gate)
    session = await api.session()
    await api.prompt(session, "hello")
    await gate.arrival()
    async with api.events(session) as reader:
        assert (await api.delete(f"/v1/sessions/{session}?purge=true")).status == 204
        await reader.until(lambda: reader.ended)
    gate.open()
    assert await database.run(Run.objects.count) == 0


async def test_an_end_user_is_erased_from_shared_sessions_and_with_own_ones(api: Client, tenant: Tenant) -> None:
    own, shared = await api.session(), await api.session()
    await api.run(own, f"I am {SECRET}", endUser="u-1")
    await api.run(shared, f"I am {SECRET}", endUser="u-1")
    await api.run(shared, "I am somebody else", endUser="u-2")
    erased = await database.run(end_user_erase, tenant_id=tenant.pk, end_user="u-1", actor="test")
    assert erased == (1, 1)
    assert not await database.run(found_anywhere, SECRET)
    assert (await api.get(f"/v1/sessions/{own}")).status == 404
    texts = [row["content"] for row in (await api.get(f"/v1/sessions/{shared}/messages")).json["messages"]]
    assert texts == ["[erased]", "[erased]", "I am somebody else", "I am somebody else"]
    await api.delete(f"/v1/sessions/{shared}?purge=true")


async def test_an_erased_end_user_is_in_no_call_and_no_failure_either(
    api: Client, script: ScriptedEngine, tenant: Tenant
) -> None:
    async def call_tool_then_fail(leg: Leg) -> LegOutcome:
        if leg.run.turns:
            return Failed("broken", f"no answer for {SECRET}")
        asked = {"question": f"Is it {SECRET}?", "options": [{"id": "a", "label": SECRET}]}
        requests = ToolRequest("ask_user", asked, "p1"), ToolRequest("greet", {"name": SECRET}, "p2")
        _, planned = await say(leg, [SECRET], requests)
        for call in planned:
            await leg.call(call.call_id)
        return Waiting()

    script.behaviour = call_tool_then_fail
    shared = await api.session(tools=["ask_user", {"name": "greet", "requiresApproval": True, "parameters": {}}])
    request_id = await api.prompt(shared, f"I am {SECRET}", endUser="u-1")
    path = f"/v1/sessions/{shared}"
    async with api.events(shared) as reader:
        question = await reader.next_of("ask_user")
        approval = await reader.next_of("approval_required")
        decision = {"approvalId": approval.data["approvalId"], "args": {"name": f"{SECRET}!"}, "comment": SECRET}
        assert (await api.post(f"{path}/approve", decision)).status == 200
        assert (await api.post(f"{path}/respond", {"ref": question.data["ref"], "response": SECRET})).status == 200
        requested = await reader.next_of("tool_call_requested")
        result = {"callId": requested.data["callId"], "result": SECRET}
        assert (await api.post(f"{path}/tool-results", result)).status == 200
        await reader.read_to_end()
    assert (await api.follow_run(shared, request_id))["error"]["reason"] == f"no answer for {SECRET}"
    script.behaviour = echo
    await api.run(shared, "I am somebody else", endUser="u-2")
    before = (await api.get(f"{path}/messages")).json["messages"]
    assert await database.run(end_user_erase, tenant_id=tenant.pk, end_user="u-1", actor="test") == (0, 1)
    assert not await database.run(found_anywhere, SECRET)
    after = (await api.get(f"{path}/messages")).json["messages"]
    assert [row["id"] for row in after] == [row["id"] for row in before]
    assert [[call["callId"] for call in row.get("toolCalls", ())] for row in after] == [
        [call["callId"] for call in row.get("toolCalls", ())] for row in before
    ]
    await api.delete(f"{path}?purge=true")


async def test_a_tenant_is_erased_and_its_neighbour_is_not(
    api: Client, gateway: GatewayHarness, stranger: Caller, tenant: Tenant
) -> None:
    await api.run(await api.session(groupId="g"), "hello")
    kept = await gateway.client(stranger).session()
    assert await database.run(tenant_erase, tenant=tenant, actor="test") == (1, True)
    assert await database.run(lambda: list(AgentSession.objects.values_list("public_id", flat=True))) == [kept]


async def test_an_erasure_that_was_cut_off_is_finished_by_asking_again(
    api: Client, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sessions_app.services import erasure

    session = await api.session()
    await api.run(session, SECRET)
    deletes = erasure._delete

    def fail_halfway(rows: Any, *go_on: Any) -> None:
        deletes(rows, *go_on)
        if rows.model.__name__ == "Message":
            raise RuntimeError("killed")

    monkeypatch.setattr(erasure, "_delete", fail_halfway)
    with pytest.raises(RuntimeError):
        await database.run(session_erase, tenant_id=tenant.pk, public_id=session, actor="test")
    monkeypatch.setattr(erasure, "_delete", deletes)
    await database.run(session_erase, tenant_id=tenant.pk, public_id=session, actor="test")
    assert not await database.run(found_anywhere, SECRET)


async def test_an_export_has_everything_that_was_said(api: Client) -> None:
    session = await api.session(systemPrompt="Be brief.")
    await api.run(session, "hello there", endUser="u-1")
    await api.session()
    output = StringIO()
    await database.run(call_command, "export", tenant="acme", end_user="u-1", stdout=output)
    lines = [json.loads(line) for line in output.getvalue().splitlines()]
    kinds = [line["kind"] for line in lines]
    assert kinds[0] == "session"
    assert {kind: kinds.count(kind) for kind in ("session", "run", "message")} == {"session": 1, "run": 1, "message": 2}
    events = [line for line in lines if line["kind"] == "event"]
    assert [(line["id"], line["event"], line["data"]) for line in events] == [
        (frame.id, frame.event, frame.data) for frame in await api.log(session)
    ]


async def test_the_erase_command_asks_first_and_names_what_is_missing(
    api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = await api.session()
    monkeypatch.setattr("builtins.input", lambda prompt: "no")
    with pytest.raises(CommandError, match="Nothing was erased"):
        await database.run(call_command, "erase", "session", session, tenant="acme")
    with pytest.raises(CommandError, match="no tenant"):
        await database.run(call_command, "erase", "session", session, tenant="nobody", yes=True)
    with pytest.raises(CommandError, match="There is no session"):
        await database.run(call_command, "erase", "session", "nothing", tenant="acme", yes=True)
    output = StringIO()
    await database.run(call_command, "erase", "session", session, tenant="acme", yes=True, stdout=output)
    assert "Erased the session" in output.getvalue()


async def _fork(api: Client, session: str) -> str:
    """Forks the complete conversation."""
    told = (await api.get(f"/v1/sessions/{session}/messages")).json["messages"]
    made = await api.post(f"/v1/sessions/{session}/fork", {"messageId": told[-1]["id"]})
    assert made.status == 201
    return str(made.json["sessionId"])


async def test_an_end_user_is_erased_from_forks_and_forks_of_forks(api: Client, tenant: Tenant) -> None:
    own, shared = await api.session(), await api.session()
    await api.run(own, f"I am {SECRET}", endUser="u-1")
    alone = await _fork(api, await _fork(api, own))
    await api.run(shared, f"I am {SECRET}", endUser="u-1")
    await api.run(shared, "I am somebody else", endUser="u-2")
    mixed, going_on = await _fork(api, shared), await _fork(api, own)
    await api.run(going_on, "I am somebody else", endUser="u-2")
    erased = await database.run(end_user_erase, tenant_id=tenant.pk, end_user="u-1", actor="test")
    assert erased == (3, 1)
    assert not await database.run(found_anywhere, SECRET)
    assert (await api.get(f"/v1/sessions/{alone}")).status == 404
    for session in (mixed, going_on):
        texts = [row["content"] for row in (await api.get(f"/v1/sessions/{session}/messages")).json["messages"]]
        assert texts == ["[erased]", "[erased]", "I am somebody else", "I am somebody else"]
        await api.delete(f"/v1/sessions/{session}?purge=true")
    await api.delete(f"/v1/sessions/{shared}?purge=true")


async def test_a_fork_leaves_another_users_and_another_tenants_words_alone(
    api: Client, gateway: GatewayHarness, stranger: Caller, tenant: Tenant
) -> None:
    session, theirs = await api.session(), gateway.client(stranger)
    await api.run(session, "mine", endUser="u-2")
    fork = await _fork(api, session)
    other = await theirs.session()
    await theirs.run(other, "of another tenant", endUser="u-1")
    copied = await _fork(theirs, other)
    assert await database.run(end_user_erase, tenant_id=tenant.pk, end_user="u-1", actor="test") == (0, 0)
    assert (await api.get(f"/v1/sessions/{fork}/messages")).json["messages"][0]["content"] == "mine"
    assert (await theirs.get(f"/v1/sessions/{copied}/messages")).json["messages"][0]["content"] == "of another tenant"


async def test_imported_history_may_name_its_end_user_and_is_erased_with_it(api: Client, tenant: Tenant) -> None:
    call = [{"callId": "c1", "name": "greet", "arguments": {"name": SECRET}}]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": SECRET, "endUser": "u-1"},
        {"role": "assistant", "content": "", "toolCalls": call, "endUser": "u-1"},
        {"role": "tool_result", "content": SECRET, "callId": "c1", "endUser": "u-1"},
        {"role": "user", "content": "somebody else", "endUser": "u-2"},
    ]
    session, own = await api.session(messages=messages), await api.session(messages=messages[:3])
    output = StringIO()
    await database.run(call_command, "export", tenant="acme", end_user="u-1", stdout=output)
    assert output.getvalue().count('"kind":"session"') == 2
    assert await database.run(end_user_erase, tenant_id=tenant.pk, end_user="u-1", actor="test") == (1, 0)
    assert not await database.run(found_anywhere, SECRET)
    assert (await api.get(f"/v1/sessions/{own}")).status == 404
    kept = (await api.get(f"/v1/sessions/{session}/messages")).json["messages"]
    assert [row["content"] for row in kept] == ["[erased]", "[erased]", "[erased]", "somebody else"]
    await api.delete(f"/v1/sessions/{session}?purge=true")


async def test_a_summary_of_what_an_erased_user_said_goes_with_it(
    api: Client, script: ScriptedEngine, tenant: Tenant
) -> None:
    shared = await api.session()
    await api.run(shared, f"I am {SECRET}", endUser="u-1")

    async def answer_with_summary(leg: Leg) -> LegOutcome:
        kept_from = leg.history[-1].message_id
        cut = {"model": USAGE.model, "kept_from": kept_from, "summary": f"It was {SECRET}."}
        payload = json.dumps([{"metadata": {"cut": cut}}], separators=(",", ":")).encode()
        await leg.checkpoint(Completion(new_id("msg"), "fine", (), USAGE, payload, kept_from))
        return Finished("fine")

    script.behaviour = answer_with_summary
    await api.run(shared, "somebody else", endUser="u-2")
    await database.run(end_user_erase, tenant_id=tenant.pk, end_user="u-1", actor="test")
    assert not await database.run(found_anywhere, SECRET)
    session = await database.run(AgentSession.objects.get, public_id=shared)
    assert (session.kept_from, session.kept_for) == (None, None)
    await api.delete(f"/v1/sessions/{shared}?purge=true")
