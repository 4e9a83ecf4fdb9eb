"""Tests of admin actions: each asks for confirmation, calls a service, is audited, and stays in its tenant."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from core_app import clock, jsontext
from events_app.models import Event
from sessions_app.models import AgentSession, Message, Run, RunState, SessionState
from sessions_app.services.run_control import run_abort
from tenants_app.models import AuditEntry
from tests.admin.conftest import CALLS, SESSIONS, Scoped, Waiting, act, call_made, session_made, waiting_made
from tests.conftest import Caller
from tools_app.fingerprint import fingerprint
from tools_app.models import ToolCall

pytestmark = pytest.mark.django_db

ALL = f"{CALLS}?waiting=all"


def audit_entry(action: str) -> AuditEntry:
    return AuditEntry.objects.get(action=action)


def state_of(row: Any) -> str:
    row.refresh_from_db()
    return str(row.state)


def as_shown(call: ToolCall) -> dict[str, Any]:
    return {f"hash_{call.pk}": call.args_hash}


def shown_otherwise(call: ToolCall) -> dict[str, Any]:
    return {f"hash_{call.pk}": "0" * 64}


def answer_field(call: ToolCall, text: str) -> dict[str, Any]:
    return {f"answer_{call.pk}": text}


@pytest.mark.parametrize("action", ["close", "abort", "erase"])
def test_ending_a_session_asks_first(root: Client, waiting: Waiting, action: str) -> None:
    page = act(root, SESSIONS, action, waiting.session, confirmed=False)
    assert waiting.session.public_id in page.content.decode()
    assert 'name="confirmed"' in page.content.decode()
    assert state_of(waiting.session) == SessionState.WAITING_APPROVAL
    assert state_of(waiting.run) == RunState.WAITING
    assert not AuditEntry.objects.filter(actor="user:root").exists()


def test_closing_ends_what_runs(person: Client, waiting: Waiting) -> None:
    page = act(person, SESSIONS, "close", waiting.session, from_page="1")
    assert page.redirect_chain == [(waiting.page, 302)]
    assert state_of(waiting.session) == SessionState.CLOSED
    assert state_of(waiting.run) == RunState.ABORTED
    assert state_of(waiting.approval) == "settled"
    entry = audit_entry("session.close")
    assert (entry.actor, entry.target, entry.tenant_id) == (
        "user:ann",
        waiting.session.public_id,
        waiting.session.tenant_id,
    )
    assert 'value="close"' not in person.get(waiting.page).content.decode()


def test_aborting_tells_the_reason(root: Client, waiting: Waiting) -> None:
    act(root, SESSIONS, "abort", waiting.session, text="Too dear.")
    assert state_of(waiting.run) == RunState.ABORTED
    assert state_of(waiting.session) == SessionState.IDLE
    assert audit_entry("run.abort").detail == {"run": waiting.run.pk}
    assert "Too dear." in root.get(waiting.page).content.decode()


def test_what_a_service_refuses_is_a_message_and_the_others_are_done(
    root: Client, owner: Caller, waiting: Waiting
) -> None:
    idle = session_made(owner)
    run_abort(principal=owner.principal, public_id=idle.public_id, run_id=Run.objects.get(session=idle).pk)
    page = act(root, SESSIONS, "abort", idle, waiting.session).content.decode()
    assert "Nothing runs in this session." in page
    assert state_of(waiting.run) == RunState.ABORTED


def test_erasing_leaves_nothing_but_the_record(root: Client, waiting: Waiting) -> None:
    page = act(root, SESSIONS, "erase", waiting.session, from_page="1")
    assert page.redirect_chain == [(SESSIONS, 302)]
    assert not AgentSession.objects.exists()
    assert not ToolCall.objects.exists()
    assert audit_entry("session.erase").actor == "user:root"
    assert root.get(waiting.page).status_code == 404


def test_erasing_needs_the_scope_for_it(scoped: Scoped, waiting: Waiting) -> None:
    client = scoped("sessions", "operator")
    assert 'value="erase"' not in client.get(SESSIONS).content.decode()
    act(client, SESSIONS, "erase", waiting.session)
    assert state_of(waiting.session) == SessionState.WAITING_APPROVAL


def test_nothing_of_another_tenant_can_be_ended_or_decided(outsider: Client, waiting: Waiting) -> None:
    for action in ("close", "abort", "erase"):
        act(outsider, SESSIONS, action, waiting.session)
    for action, call in (("approve", waiting.approval), ("reject", waiting.approval), ("answer", waiting.question)):
        act(outsider, ALL, action, call, **as_shown(call), **answer_field(call, "a"))
    assert state_of(waiting.session) == SessionState.WAITING_APPROVAL
    assert state_of(waiting.approval) == "awaiting_approval"
    assert state_of(waiting.question) == "awaiting_answer"


@pytest.mark.parametrize("page", [SESSIONS, CALLS])
def test_a_page_that_only_shows_takes_no_post(root: Client, waiting: Waiting, page: str) -> None:
    row = waiting.session if page == SESSIONS else waiting.approval
    assert root.post(f"{page}{row.pk}/change/", {"state": "closed"}).status_code == 403
    assert root.get(f"{page}add/").status_code == 403
    assert root.post(f"{page}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert AgentSession.objects.filter(state=SessionState.WAITING_APPROVAL).exists()


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_deciding_asks_first_and_shows_what_about(root: Client, waiting: Waiting, action: str) -> None:
    text = act(root, CALLS, action, waiting.approval, waiting.question, confirmed=False).content.decode()
    assert "&quot;action&quot;: &quot;&lt;script&gt;" in text
    assert waiting.approval.args_hash in text
    assert waiting.question.pk not in text
    assert state_of(waiting.approval) == "awaiting_approval"


@pytest.mark.parametrize(
    ("action", "state", "told"), [("approve", "approved", "approved"), ("reject", "settled", "rejected")]
)
def test_a_decision_is_taken_with_its_comment_and_audited(
    root: Client, waiting: Waiting, action: str, state: str, told: str
) -> None:
    page = act(root, CALLS, action, waiting.approval, text="Because.", **as_shown(waiting.approval))
    assert f"is {told}" in page.content.decode()
    assert state_of(waiting.approval) == state
    assert (waiting.approval.approval_state, waiting.approval.decided_by, waiting.approval.comment) == (
        told,
        "user:root",
        "Because.",
    )
    entry = audit_entry(f"approval.{action}")
    assert (entry.actor, entry.target) == ("user:root", waiting.approval.pk)


def test_other_arguments_than_were_shown_are_not_approved(root: Client, waiting: Waiting) -> None:
    page = act(root, CALLS, "approve", waiting.approval, **shown_otherwise(waiting.approval))
    assert "other arguments were shown" in page.content.decode()
    assert state_of(waiting.approval) == "awaiting_approval"
    act(root, CALLS, "approve", waiting.approval)
    assert state_of(waiting.approval) == "awaiting_approval"


def test_deciding_again_the_other_way_is_refused(root: Client, waiting: Waiting) -> None:
    act(root, ALL, "approve", waiting.approval, **as_shown(waiting.approval))
    page = act(root, ALL, "reject", waiting.approval, **as_shown(waiting.approval))
    assert "already approved" in page.content.decode()
    assert AuditEntry.objects.filter(action__startswith="approval.").count() == 1


def test_deciding_needs_the_scope_for_it(scoped: Scoped, waiting: Waiting) -> None:
    client = scoped("operator")
    assert 'value="approve"' not in client.get(f"{CALLS}{waiting.approval.pk}/change/").content.decode()
    act(client, CALLS, "approve", waiting.approval, **as_shown(waiting.approval))
    assert state_of(waiting.approval) == "awaiting_approval"
    act(scoped("approvals"), CALLS, "approve", waiting.approval, **as_shown(waiting.approval))
    assert state_of(waiting.approval) == "approved"


def test_a_question_is_answered_by_its_option(root: Client, waiting: Waiting) -> None:
    text = act(root, CALLS, "answer", waiting.question, confirmed=False).content.decode()
    assert "Apples" in text
    act(root, CALLS, "answer", waiting.question)
    assert state_of(waiting.question) == "awaiting_answer"
    act(root, CALLS, "answer", waiting.question, **answer_field(waiting.question, "b"))
    assert state_of(waiting.question) == "settled"
    assert waiting.question.result == "Pears"
    assert audit_entry("question.answer").detail == {"session": waiting.session.public_id}


def test_the_last_decision_lets_the_run_go_on(root: Client, waiting: Waiting) -> None:
    act(root, CALLS, "answer", waiting.question, **answer_field(waiting.question, "a"))
    assert state_of(waiting.run) == RunState.WAITING
    act(root, CALLS, "approve", waiting.approval, **as_shown(waiting.approval))
    assert state_of(waiting.run) == RunState.READY


def test_a_superuser_decides_for_every_tenant_at_once(root: Client, owner: Caller, stranger: Caller) -> None:
    here, there = waiting_made(owner), waiting_made(stranger)
    shown = as_shown(here.approval) | as_shown(there.approval)
    act(root, CALLS, "approve", here.approval, there.approval, **shown)
    assert [state_of(one.approval) for one in (here, there)] == ["approved", "approved"]


def test_too_many_rows_at_once_are_refused(
    root: Client, waiting: Waiting, owner: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("admin_app.tables.ACTION_LIMIT", 1)
    other = session_made(owner)
    assert "At most 1 rows" in act(root, SESSIONS, "close", waiting.session, other).content.decode()
    assert state_of(waiting.session) == SessionState.WAITING_APPROVAL


def test_a_session_is_found_by_its_id_or_a_runs(root: Client, owner: Caller, waiting: Waiting) -> None:
    other = session_made(owner)
    for term in (waiting.session.public_id, waiting.run.pk, f" {waiting.run.pk} "):
        text = root.get(SESSIONS, {"q": term}).content.decode()
        assert waiting.session.public_id in text
        assert other.public_id not in text
    assert "0 agent sessions" in root.get(SESSIONS, {"q": "nothing"}).content.decode()


HIDDEN = "pay \u202e001\u202c to bob\u200b"


def ask_for(waiting: Waiting, args: dict[str, Any]) -> ToolCall:
    call = waiting.approval
    call.args, call.args_hash = jsontext.encode_text(args), fingerprint(args)
    call.save(update_fields=["args", "args_hash"])
    return call


@pytest.mark.parametrize("length", [9_000, 200_000])
def test_arguments_are_shown_whole_where_they_are_decided(root: Client, waiting: Waiting, length: int) -> None:
    call = ask_for(waiting, {"note": "x" * length, "z": "TRANSFER-EVERYTHING"})
    decide = act(root, CALLS, "approve", call, confirmed=False).content.decode()
    page = root.get(f"{CALLS}{call.pk}/change/").content.decode()
    for text in (decide, page):
        assert "x" * length in text
        assert "TRANSFER-EVERYTHING" in text
    assert f'name="hash_{call.pk}" value="{call.args_hash}"' in decide
    assert "scroll to its end" in decide


def test_calls_whose_arguments_do_not_fit_one_page_are_decided_apart(
    root: Client, waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sessions_app.admin.calls._MAX_PAGE_TEXT", 50)
    call = ask_for(waiting, {"note": "x" * 60})
    other = call_made(
        waiting.session, waiting.run, tool_name="demo_approval", state="awaiting_approval", args='{"action":"y"}',
        args_hash=fingerprint({"action": "y"}), approval_id="apr_2", approval_state="pending", requested_at=clock.now(),
    )  # fmt: skip
    assert "choose fewer calls" in act(root, CALLS, "approve", call, other, confirmed=False).content.decode()
    for one in (call, other):
        assert "Yes, approve" in act(root, CALLS, "approve", one, confirmed=False).content.decode()


def test_invisible_characters_are_shown_where_a_person_decides(root: Client, waiting: Waiting) -> None:
    call = ask_for(waiting, {"action": HIDDEN})
    ToolCall.objects.filter(pk=call.pk).update(approval_hint=HIDDEN)
    ToolCall.objects.filter(pk=waiting.question.pk).update(
        question=HIDDEN, options=jsontext.encode_text([{"id": "a", "label": HIDDEN}])
    )
    AgentSession.objects.update(title=HIDDEN)
    Run.objects.update(text=HIDDEN)
    Message.objects.update(content=HIDDEN, calls=jsontext.encode_text([{"name": HIDDEN}]))
    Event.objects.update(data=jsontext.encode_text({"text": HIDDEN}))
    pages = [
        act(root, CALLS, "approve", call, confirmed=False),
        act(root, CALLS, "answer", waiting.question, confirmed=False),
        root.get(f"{CALLS}{call.pk}/change/"),
        root.get(f"{CALLS}{waiting.question.pk}/change/"),
        root.get(waiting.page),
        root.get(SESSIONS),
        root.get(CALLS),
        root.get("/admin/"),
    ]
    for page in pages:
        text = page.content.decode()
        assert "\\u202e" in text, page.request["PATH_INFO"]
        assert not set("\u202e\u202c\u200b") & set(text), page.request["PATH_INFO"]
    for page in pages[:5]:
        assert '<mark title="an invisible character">' in page.content.decode()


def test_a_long_result_says_how_much_is_left_out(root: Client, waiting: Waiting) -> None:
    settled = {"state": "settled", "status": "ok", "settled_at": clock.now(), "duration_ms": 1, "expires_at": None}
    ToolCall.objects.filter(pk=waiting.question.pk).update(result="r" * 10_000, **settled)
    text = root.get(f"{CALLS}{waiting.question.pk}/change/").content.decode()
    assert "r" * 8_000 in text
    assert "2,000 characters more" in text
