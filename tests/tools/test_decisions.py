"""Approvals, questions and results of client-run tools: decided, decided twice, otherwise, late, by a stranger."""

from __future__ import annotations

from typing import Any

import pytest

from core_app.errors import BadRequest, Conflict, GatewayError, Gone, NotFound
from sessions_app.events import SESSION_EVENTS
from tests.tools.conftest import Session
from tools_app import calls
from tools_app.states import CallState
from tools_app.types import SettledCall

pytestmark = pytest.mark.django_db

SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}


def approval(session: Session, *, callback: bool = False) -> tuple[str, str]:
    """A client's tool whose call awaits approval: the call's and the approval's ids."""
    session.attach(
        "guarded",
        parameters=SCHEMA,
        requiresApproval=True,
        hint="look twice",
        **({"callbackUrl": "https://example.com/"} if callback else {}),
    )
    call_id = session.planned("guarded", {"n": 1})
    assert session.executed(call_id) is None
    return call_id, str(session.call(call_id).approval_id)


def decide(session: Session, approval_id: Any, approve: bool = True, **more: Any) -> dict[str, Any]:
    return calls.approval_decide(
        stream_id=session.stream_id,
        approval_id=approval_id,
        approve=approve,
        by="ada",
        on_settled=session.settled.append,
        **more,
    )


def test_an_approval_says_what_is_asked_and_until_when(session: Session) -> None:
    call_id, approval_id = approval(session)
    data = session.event("approval_required")
    assert data["callId"] == call_id
    assert data["approvalId"] == approval_id
    assert (data["args"], data["hint"]) == ({"n": 1}, "look twice")
    (listed,) = calls.pending(session.stream_id).approvals
    shown = SESSION_EVENTS.data(listed)
    assert shown == {key: data[key] for key in shown}
    assert calls.waiting_kind(session.run_id) == "waiting_approval"


def test_an_approved_client_tool_is_requested_and_waits_for_a_client(session: Session, settings: Any) -> None:
    settings.GATEWAY_CLIENT_TOOL_TIMEOUT_SECONDS = 7200.0
    call_id, approval_id = approval(session)
    assert decide(session, approval_id) == {"approvalId": approval_id, "status": "approved"}
    assert session.types()[-2:] == ["approval_resolved", "tool_call_requested"]
    call = session.call(call_id)
    assert call.state == CallState.REQUESTED
    assert call.expires_at is not None
    assert call.started_at is not None
    assert round((call.expires_at - call.started_at).total_seconds()) == 7200
    assert calls.waiting_kind(session.run_id) == "waiting_tool"
    assert [tool.call_id for tool in calls.pending(session.stream_id).tools] == [call_id]


def test_an_approved_callback_waits_for_nobody_any_more(session: Session) -> None:
    call_id, approval_id = approval(session, callback=True)
    assert calls.run_blocked(session.run_id)
    decide(session, approval_id)
    assert not calls.run_blocked(session.run_id)
    assert session.call(call_id).state == CallState.APPROVED


def test_a_rejection_is_told_to_the_model_with_its_reason(session: Session) -> None:
    call_id, approval_id = approval(session)
    assert decide(session, approval_id, False, comment="too dear") == {"approvalId": approval_id, "status": "rejected"}
    (settled,) = session.settled
    assert (settled.call_id, settled.status) == (call_id, "rejected")
    assert "too dear" in settled.content
    assert session.types()[-2:] == ["approval_resolved", "tool_execution_end"]
    assert session.event("approval_resolved")["comment"] == "too dear"
    assert session.event("approval_resolved")["by"] == "ada"


@pytest.mark.parametrize("approve", [True, False])
def test_the_same_decision_again_is_answered_the_same_and_changes_nothing(session: Session, approve: bool) -> None:
    _, approval_id = approval(session)
    first = decide(session, approval_id, approve)
    before = session.events()
    assert decide(session, approval_id, approve) == first
    assert session.events() == before
    assert len(session.settled) == (0 if approve else 1)


@pytest.mark.parametrize("approve", [True, False])
def test_the_other_decision_is_a_conflict(session: Session, approve: bool) -> None:
    _, approval_id = approval(session)
    decide(session, approval_id, approve)
    with pytest.raises(Conflict):
        decide(session, approval_id, not approve)


def test_approving_with_changed_arguments_changes_what_is_called(session: Session) -> None:
    call_id, approval_id = approval(session)
    decide(session, approval_id, args={"n": 2})
    assert session.event("tool_call_requested")["args"] == {"n": 2}
    assert session.call(call_id).args == '{"n":1}'
    assert decide(session, approval_id, args={"n": 2})["status"] == "approved"
    for other in ({"n": 3}, {"n": 1}, None):
        with pytest.raises(Conflict):
            decide(session, approval_id, args=other)


def test_changed_arguments_are_held_to_the_schema(session: Session) -> None:
    _, approval_id = approval(session)
    with pytest.raises(BadRequest) as refused:
        decide(session, approval_id, args={"n": "two"})
    assert refused.value.field == "args"
    assert calls.waiting_kind(session.run_id) == "waiting_approval"


def test_another_args_hash_than_the_calls_is_a_conflict_before_and_after(session: Session) -> None:
    call_id, approval_id = approval(session)
    with pytest.raises(Conflict):
        decide(session, approval_id, args_hash="0" * 64)
    right = session.call(call_id).args_hash
    decide(session, approval_id, args_hash=right)
    assert decide(session, approval_id, args_hash=right)["status"] == "approved"
    with pytest.raises(Conflict):
        decide(session, approval_id, args_hash="0" * 64)


def test_a_stranger_finds_no_approval(session: Session, other_session: Session) -> None:
    _, approval_id = approval(session)
    with pytest.raises(NotFound):
        decide(other_session, approval_id)
    unknowns: list[Any] = ["apr_unknown", "", "\x00", "\ud800", 7, None, {}]
    for unknown in unknowns:
        with pytest.raises(NotFound):
            decide(session, unknown)
        with pytest.raises(NotFound):
            answer(session, unknown, "yes")
        with pytest.raises(NotFound):
            deliver(session, unknown, result=1)
    assert calls.run_blocked(session.run_id)


def test_an_expired_approval_is_gone_before_and_after_the_sweep(session: Session) -> None:
    call_id, approval_id = approval(session)
    session.make_late(call_id)
    with pytest.raises(Gone):
        decide(session, approval_id)
    assert calls.calls_expire(limit=10, on_settled=session.settled.append) == [(session.stream_id, session.run_id)]
    with pytest.raises(Gone):
        decide(session, approval_id)
    assert session.event("approval_resolved")["status"] == "expired"
    assert session.event("tool_execution_end")["status"] == "rejected"
    assert len(session.settled) == 1
    assert calls.calls_expire(limit=10, on_settled=session.settled.append) == []


def asked(session: Session, **args: Any) -> tuple[str, str]:
    call_id = session.planned("ask_user", {"question": "Which?", **args})
    assert session.executed(call_id) is None
    return call_id, str(session.call(call_id).ref)


def answer(session: Session, ref: Any, response: Any) -> dict[str, Any]:
    return calls.question_answer(
        stream_id=session.stream_id, ref=ref, response=response, by="ada", on_settled=session.settled.append
    )


def test_a_question_waits_for_the_user_and_its_answer_is_the_result(session: Session) -> None:
    _, ref = asked(session, options=["red", {"id": "b", "label": "blue"}])
    assert session.event("ask_user")["options"] == [{"id": "1", "label": "red"}, {"id": "b", "label": "blue"}]
    assert calls.waiting_kind(session.run_id) == "waiting_input"
    assert answer(session, ref, "b") == {"ref": ref, "status": "answered"}
    assert [settled.content for settled in session.settled] == ["blue"]
    assert session.types() == ["ask_user", "question_resolved", "tool_execution_end"]


def test_an_answer_twice_otherwise_late_and_by_a_stranger(session: Session, other_session: Session) -> None:
    call_id, ref = asked(session)
    with pytest.raises(NotFound):
        answer(other_session, ref, "yes")
    first = answer(session, ref, "yes")
    assert answer(session, ref, "yes") == first
    with pytest.raises(Conflict):
        answer(session, ref, "no")
    call_id, ref = asked(session)
    session.make_late(call_id)
    with pytest.raises(Gone):
        answer(session, ref, "yes")
    calls.calls_expire(limit=10, on_settled=session.settled.append)
    with pytest.raises(Gone):
        answer(session, ref, "yes")
    assert len(session.settled) == 2


@pytest.mark.parametrize("response", ["", "  ", 3, None, {"a": 1}, "x" * 70_000])
def test_an_answer_that_is_no_text_is_refused(session: Session, response: Any) -> None:
    _, ref = asked(session)
    with pytest.raises(BadRequest) as refused:
        answer(session, ref, response)
    assert refused.value.field == "response"


def requested(session: Session) -> str:
    session.attach("theirs")
    call_id = session.planned("theirs", {})
    assert session.executed(call_id) is None
    return call_id


def deliver(session: Session, call_id: Any, **said: Any) -> dict[str, Any]:
    return calls.client_result(stream_id=session.stream_id, call_id=call_id, on_settled=session.settled.append, **said)


def test_a_clients_result_twice_otherwise_and_by_a_stranger(session: Session, other_session: Session) -> None:
    call_id = requested(session)
    with pytest.raises(NotFound):
        deliver(other_session, call_id, result=1)
    first = deliver(session, call_id, result={"a": [1]})
    assert deliver(session, call_id, result={"a": [1]}) == first
    with pytest.raises(Conflict):
        deliver(session, call_id, result={"a": [2]})
    with pytest.raises(Conflict):
        deliver(session, call_id, error="no")
    assert [(settled.content, settled.status) for settled in session.settled] == [('{"a":[1]}', "ok")]


def test_a_clients_error_is_told_to_the_model(session: Session) -> None:
    call_id = requested(session)
    deliver(session, call_id, error="disk full")
    assert session.event("tool_execution_end")["status"] == "error"
    assert session.settled[0].content == "disk full"


def test_a_client_that_does_not_answer_in_time_is_a_timeout(session: Session) -> None:
    call_id = requested(session)
    session.make_late(call_id)
    with pytest.raises(Gone):
        deliver(session, call_id, result=1)
    calls.calls_expire(limit=10, on_settled=session.settled.append)
    assert session.event("tool_execution_end")["status"] == "timeout"
    with pytest.raises(Gone):
        deliver(session, call_id, result=1)


def test_a_result_for_a_call_that_the_client_was_not_asked_for_is_not_found(session: Session) -> None:
    call_id, _ = approval(session)
    with pytest.raises(NotFound):
        deliver(session, call_id, result=1)
    question, _ = asked(session)
    with pytest.raises(NotFound):
        deliver(session, question, result=1)


def test_a_run_with_several_waits_is_blocked_until_the_last_is_settled(session: Session) -> None:
    _, approval_id = approval(session)
    _, ref = asked(session)
    call_id = requested(session)
    assert calls.waiting_kind(session.run_id) == "waiting_approval"
    decide(session, approval_id, False)
    assert calls.waiting_kind(session.run_id) == "waiting_input"
    answer(session, ref, "yes")
    assert calls.waiting_kind(session.run_id) == "waiting_tool"
    assert calls.run_blocked(session.run_id)
    deliver(session, call_id, result="x")
    assert calls.waiting_kind(session.run_id) is None
    assert not calls.run_blocked(session.run_id)
    assert [result.status for result in calls.results(session.run_id).values()] == ["rejected", "ok", "ok"]


def test_cancelling_a_run_ends_every_open_call_and_resolves_what_was_asked(session: Session) -> None:
    _, approval_id = approval(session)
    _, ref = asked(session)
    call_id = requested(session)
    planned = session.planned("never_begun", {})
    ended = calls.calls_cancel(
        stream_id=session.stream_id,
        run_id=session.run_id,
        reason="The run was aborted.",
        on_settled=session.settled.append,
    )
    assert ended == len(session.settled) == 4
    statuses = {settled.call_id: settled.status for settled in session.settled}
    # The client has the call and may have run it; nobody has begun the others.
    assert statuses.pop(call_id) == "unknown"
    assert set(statuses.values()) == {"rejected"}
    assert session.event("approval_resolved")["status"] == "rejected"
    assert session.event("question_resolved")["status"] == "cancelled"
    assert session.types().count("tool_execution_end") == 4
    assert planned in {settled.call_id for settled in session.settled}
    attempts: list[Any] = [
        lambda: decide(session, approval_id),
        lambda: answer(session, ref, "yes"),
        lambda: deliver(session, call_id, result=1),
    ]
    for attempt in attempts:
        with pytest.raises(GatewayError) as refused:
            attempt()
        assert refused.value.code in ("conflict", "gone")


def test_a_stream_whose_expiry_fails_does_not_hold_up_the_others(session: Session, other_session: Session) -> None:
    for each in (session, other_session):
        call_id, _ = asked(each)
        each.make_late(call_id)

    def refuse_one(settled: SettledCall) -> None:
        if settled.stream_id == session.stream_id:
            raise RuntimeError

    assert calls.calls_expire(limit=10, on_settled=refuse_one) == [(other_session.stream_id, other_session.run_id)]
    assert calls.run_blocked(session.run_id)


def test_expiry_goes_on_until_nothing_is_late(session: Session, other_session: Session) -> None:
    for each in (session, other_session):
        for _ in range(2):
            call_id, _ = asked(each)
            each.make_late(call_id)
    touched = calls.calls_expire(limit=1, on_settled=session.settled.append)
    assert set(touched) == {(session.stream_id, session.run_id), (other_session.stream_id, other_session.run_id)}
    assert len(session.settled) == 4


def test_expiry_stops_between_two_streams_when_it_is_told_to(session: Session, other_session: Session) -> None:
    for each in (session, other_session):
        call_id, _ = asked(each)
        each.make_late(call_id)
    answers = iter([True, False])
    touched = calls.calls_expire(limit=10, on_settled=session.settled.append, go_on=lambda: next(answers))
    assert touched == [(session.stream_id, session.run_id)]
    assert len(session.settled) == 1
