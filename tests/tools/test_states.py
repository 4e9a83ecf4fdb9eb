"""The state machine: what its table refuses, what the database refuses, and what a hostile model cannot do."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest
from django.contrib.admin.utils import quote
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse

from core_app.clock import now
from core_app.database import run, write_transaction
from core_app.errors import BadRequest, Conflict, NotFound
from tenants_app.models import User
from tests.tools.conftest import Session
from tools_app import calls, transitions
from tools_app.models import SessionTool, ToolCall
from tools_app.states import MOVES, WAITING, CallState
from tools_app.transitions import IllegalMove, move

pytestmark = pytest.mark.django_db


def test_every_state_can_end_and_a_settled_call_stays_settled() -> None:
    assert set(MOVES) == set(CallState)
    assert MOVES[CallState.SETTLED] == frozenset()
    assert all(CallState.SETTLED in MOVES[state] for state in CallState if state is not CallState.SETTLED)


def test_a_move_that_the_table_does_not_have_is_refused(session: Session) -> None:
    call = session.call(session.planned("lookup", {}))
    with pytest.raises(IllegalMove):
        move(call, CallState.ACCEPTED)


def test_a_move_that_somebody_else_made_first_is_refused(session: Session) -> None:
    call_id = session.planned("lookup", {})
    mine, theirs = session.call(call_id), session.call(call_id)
    move(theirs, CallState.RUNNING)
    with pytest.raises(IllegalMove):
        move(mine, CallState.RUNNING)


@pytest.mark.parametrize(
    "impossible",
    [
        {"state": "elsewhere"},
        {"kind": "magic"},
        {"state": CallState.SETTLED},
        {"state": CallState.SETTLED, "status": "fine", "result": "", "settled_at": now()},
        {"status": "ok"},
        {"result": "early"},
        {"state": CallState.AWAITING_APPROVAL, "expires_at": now()},
        {"approval_id": "apr_1", "approval_state": "pending", "requested_at": now()},
        {"approval_id": "apr_1"},
        {"approval_state": "approved"},
        {"state": CallState.REQUESTED},
        {"state": CallState.AWAITING_ANSWER, "expires_at": now()},
        {"state": CallState.ACCEPTED, "expires_at": now()},
    ],
)
def test_the_database_refuses_impossible_pairs(session: Session, impossible: dict[str, Any]) -> None:
    call_id = session.planned("lookup", {})
    with pytest.raises(IntegrityError), transaction.atomic():
        ToolCall.objects.filter(pk=call_id).update(**impossible)


def test_a_time_out_outside_its_range_is_refused_by_the_database_too(session: Session) -> None:
    session.attach()
    with pytest.raises(IntegrityError), transaction.atomic():
        SessionTool.objects.update(timeout_ms=1)


def test_planned_calls_have_ids_of_our_own_where_the_models_repeat(session: Session) -> None:
    ids = session.plan(("a", {}), ("a", {}), ("b", "raw text"))
    assert len(set(ids)) == 3
    assert [call.provider_id for call in ToolCall.objects.order_by("position")] == ["call_0"] * 3
    assert session.types() == []


def test_a_model_that_asks_for_a_thousand_tools_is_planned_in_few_queries(
    session: Session, django_assert_max_num_queries: Any
) -> None:
    with django_assert_max_num_queries(45):
        assert len(session.plan(*[("lookup", {"n": number}) for number in range(1000)])) == 1000


def test_arguments_beyond_every_depth_are_kept_as_no_object(session: Session) -> None:
    deep: Any = {}
    for _ in range(900):
        deep = {"a": deep}
    session.attach()
    result = session.executed(session.planned("lookup", deep))
    assert result is not None
    assert result.status == "error"


def test_a_call_of_another_session_is_not_executed(session: Session, other_session: Session) -> None:
    call_id = session.planned("lookup", {})
    with pytest.raises(NotFound):
        other_session.executed(call_id)


def test_what_waits_is_what_has_an_expiry(session: Session) -> None:
    session.attach("theirs")
    for name, args in (("theirs", {}), ("ask_user", {"question": "?"})):
        call_id = session.planned(name, args)
        session.executed(call_id)
        call = session.call(call_id)
        assert call.state in WAITING
        assert call.expires_at is not None


def test_a_settling_that_the_upper_room_refuses_is_not_settled(session: Session) -> None:
    session.attach("theirs")
    call_id = session.planned("theirs", {})
    session.executed(call_id)

    def refuse(settled: object) -> None:
        raise RuntimeError

    before = session.events()
    with pytest.raises(RuntimeError), write_transaction():
        calls.client_result(stream_id=session.stream_id, call_id=call_id, result=1, on_settled=refuse)
    assert session.call(call_id).state == CallState.REQUESTED
    assert session.events() == before


@pytest.mark.parametrize(("text", "limit", "expected"), [("é" * 10, 5, ("éé", True)), ("ab", 2, ("ab", False))])
def test_text_is_cut_between_characters(text: str, limit: int, expected: tuple[str, bool]) -> None:
    assert transitions.truncate(text, limit) == expected


@pytest.mark.django_db(transaction=True)
async def test_two_decisions_at_once_are_one(session: Session) -> None:
    await run(session.attach, "theirs", requiresApproval=True)
    call_id = await run(session.planned, "theirs", {})
    await session.execute(call_id)
    approval_id = (await run(session.call, call_id)).approval_id

    def decide(approve: bool) -> Any:
        try:
            return calls.approval_decide(
                stream_id=session.stream_id,
                approval_id=str(approval_id),
                approve=approve,
                by="ada",
                on_settled=session.settled.append,
            )["status"]
        except Conflict:
            return "conflict"

    said = await asyncio.gather(*[run(decide, number % 2 == 0) for number in range(8)])
    assert said.count("conflict") == 4
    assert len(set(said)) == 2
    assert (await run(session.types)).count("approval_resolved") == 1


@pytest.mark.urls("tests.tools.urls")
def test_the_admin_shows_calls_and_tools_without_secrets(session: Session, client: Client) -> None:
    User.objects.create_superuser("root", password="root")
    client.login(username="root", password="root")
    session.attach(secret="whsec_" + "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0")
    call_id = session.planned("lookup", {})
    session.executed(call_id)
    tool = SessionTool.objects.get()
    pages = [
        "/admin/tools_app/toolcall/?waiting=1",
        reverse("admin:tools_app_toolcall_change", args=[quote(call_id)]),
        f"/admin/tools_app/sessiontool/{tool.pk}/change/",
    ]
    for page in pages:
        answer = client.get(page)
        assert answer.status_code == 200
        assert str(tool.sealed_secret) not in answer.content.decode()
    assert client.post(pages[2], {"name": "other"}).status_code == 403


def test_a_call_that_an_agent_addressed_to_the_client_needs_no_registered_tool(session: Session, settings: Any) -> None:
    settings.GATEWAY_CLIENT_TOOL_SECONDS = 77.0
    call_id = session.planned_by_agent("read_file", {"path": "a"})
    assert session.executed(call_id) is None
    call = session.call(call_id)
    assert call.state == CallState.REQUESTED
    assert call.expires_at is not None
    assert call.started_at is not None
    assert (call.expires_at - call.started_at).total_seconds() == 77.0
    assert session.event("tool_call_requested")["args"] == {"path": "a"}
    calls.client_result(stream_id=session.stream_id, call_id=call_id, result="text", on_settled=session.settled.append)
    assert [(settled.status, settled.content) for settled in session.settled] == [("ok", "text")]


def test_an_agents_wish_for_approval_is_asked_first_and_then_the_client(session: Session) -> None:
    call_id = session.planned_by_agent("write_file", {"path": "a"}, approval_hint="The agent asks.")
    assert session.executed(call_id) is None
    asked = session.event("approval_required")
    assert (asked["hint"], asked["toolName"]) == ("The agent asks.", "write_file")
    calls.approval_decide(
        stream_id=session.stream_id,
        approval_id=asked["approvalId"],
        approve=True,
        args={"path": "b"},
        by="ada",
        on_settled=session.settled.append,
    )
    assert session.call(call_id).state == CallState.REQUESTED
    assert session.event("tool_call_requested")["args"] == {"path": "b"}


@pytest.mark.parametrize(
    ("approve", "comment", "settled"),
    [
        (True, None, ("ok", "Permitted.")),
        (True, "Go.", ("ok", "Permitted. Go.")),
        (False, "No.", ("rejected", "The user rejected this call: No.")),
    ],
)
def test_a_call_that_an_agent_makes_itself_is_settled_by_the_decision(
    session: Session, approve: bool, comment: str | None, settled: tuple[str, str]
) -> None:
    session.attach("write_file")
    call_id = session.planned_for_agent("write_file", {"path": "a"})
    assert session.executed(call_id) is None
    decide = partial(
        calls.approval_decide,
        stream_id=session.stream_id,
        approval_id=session.event("approval_required")["approvalId"],
        approve=approve,
        by="ada",
        comment=comment,
        on_settled=session.settled.append,
    )
    if approve:
        with pytest.raises(BadRequest):
            decide(args={"path": "b"})
    decide()
    decide()
    assert [(one.status, one.content) for one in session.settled] == [settled]
    result = session.executed(call_id)
    assert result is not None
    assert (result.status, result.content) == settled


def test_a_call_that_an_agent_makes_itself_needs_no_decision_where_the_operator_says_so(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools_app.targets.operator_rules.approval_rule", lambda name: "never")
    result = session.executed(session.planned_for_agent("rm", {}))
    assert result is not None
    assert (result.status, result.content) == ("ok", "Permitted.")


def test_a_registered_tool_answers_an_agent_that_asks_for_its_name(session: Session) -> None:
    session.attach("lookup", parameters={"type": "object", "required": ["n"]})
    call_id = session.planned_by_agent("lookup", {})
    result = session.executed(call_id)
    assert result is not None
    assert result.status == "error"


def test_a_model_cannot_address_the_client_with_a_tool_that_the_session_lacks(session: Session) -> None:
    result = session.executed(session.planned("read_file", {}))
    assert result is not None
    assert (result.status, session.call(result.call_id).kind) == ("error", "unknown")
