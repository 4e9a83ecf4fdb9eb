"""Remembered approvals: for the same tool of the same session, until it is replaced or the decision is forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core_app import database
from core_app.errors import NotFound
from tenants_app.models import AuditEntry
from tests.tools.conftest import Session
from tests.tools.test_decisions import SCHEMA, approval, decide
from tools_app.models import ToolCall
from tools_app.operator_rules import TOOLS
from tools_app.remembered import approvals_forget, remembered_list
from tools_app.states import ApprovalState, CallState

pytestmark = pytest.mark.django_db


def remembered(session: Session, **more: Any) -> str:
    """Approves a call for good; returns its id."""
    call_id, approval_id = approval(session, **more)
    answer = decide(session, approval_id, remember=True)
    assert answer == {"approvalId": approval_id, "status": "approved", "remembered": True}
    return call_id


def again(session: Session, n: int = 2) -> ToolCall:
    """Returns the next call of the tool, after it was executed as far as it goes."""
    call_id = session.planned("guarded", {"n": n})
    session.executed(call_id)
    return session.call(call_id)


def demand_approvals(settings: Any, directory: Path) -> None:
    settings.GATEWAY_CONFIG = directory / "gateway.yaml"
    settings.GATEWAY_CONFIG.write_text("tools: {approvals: {guarded: always}}")
    TOOLS.forget()


def test_a_later_call_is_requested_at_once_and_says_why(session: Session) -> None:
    remembered(session)
    before = len(session.events())
    call = again(session)
    assert (call.state, call.approval_state, call.decided_by) == (
        CallState.REQUESTED,
        ApprovalState.APPROVED,
        "remembered",
    )
    (_, resolved), (requested, _) = session.events()[before:]
    assert requested == "tool_call_requested"
    assert (resolved["approvalId"], resolved["status"], resolved["by"]) == (call.approval_id, "approved", "remembered")
    entries = list(AuditEntry.objects.order_by("pk").values_list("actor", "action", "target"))
    assert entries[-1] == ("remembered", "approval.approve", call.pk)
    assert AuditEntry.objects.get(actor="ada").detail["remembered"] is True


def test_an_approval_that_is_not_remembered_is_for_one_call(session: Session) -> None:
    _, approval_id = approval(session)
    assert "remembered" not in decide(session, approval_id)
    assert again(session).state == CallState.AWAITING_APPROVAL


def test_a_call_that_already_waits_is_not_decided_by_it(session: Session) -> None:
    _, first = approval(session)
    waiting = again(session)
    decide(session, first, remember=True)
    assert session.call(waiting.pk).state == CallState.AWAITING_APPROVAL
    assert again(session).state == CallState.REQUESTED


def test_a_repeated_approval_may_add_it_and_does_not_take_it_back(session: Session) -> None:
    _, approval_id = approval(session)
    decide(session, approval_id)
    assert decide(session, approval_id, remember=True)["remembered"] is True
    assert "remembered" not in decide(session, approval_id)
    assert again(session).state == CallState.REQUESTED


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": {"type": "object"}},
        {"description": "Deletes everything."},
        {"callbackUrl": "https://elsewhere.example/"},
    ],
)
def test_a_replaced_tool_asks_again(session: Session, change: dict[str, Any]) -> None:
    remembered(session)
    session.attach("guarded", **{"parameters": SCHEMA, "requiresApproval": True, "hint": "look twice", **change})
    assert again(session).state == CallState.AWAITING_APPROVAL


def test_another_session_and_another_tool_ask(session: Session, other_session: Session) -> None:
    remembered(session)
    _, approval_id = approval(other_session)
    assert approval_id
    session.attach("other", parameters=SCHEMA, requiresApproval=True)
    call_id = session.planned("other", {"n": 1})
    assert session.executed(call_id) is None
    assert session.call(call_id).state == CallState.AWAITING_APPROVAL


def test_a_rule_of_the_operator_is_not_lowered(session: Session, settings: Any, tmp_path: Path) -> None:
    demand_approvals(settings, tmp_path)
    _, approval_id = approval(session)
    assert decide(session, approval_id, remember=True)["remembered"] is False
    assert again(session).state == CallState.AWAITING_APPROVAL


def test_a_rule_that_came_later_wins_too(session: Session, settings: Any, tmp_path: Path) -> None:
    remembered(session)
    demand_approvals(settings, tmp_path)
    assert again(session).state == CallState.AWAITING_APPROVAL


def test_arguments_are_checked_all_the_same(session: Session) -> None:
    remembered(session)
    call_id = session.planned("guarded", {"n": "two"})
    result = session.executed(call_id)
    assert result is not None
    assert result.status == "error"
    assert session.call(call_id).approval_id is None


def test_a_permission_that_an_agent_asks_for_is_remembered(session: Session) -> None:
    call_id = session.planned_for_agent("edit", {})
    assert session.executed(call_id) is None
    decide(session, session.call(call_id).approval_id, remember=True)
    later = session.planned_for_agent("edit", {"file": "b"})
    result = session.executed(later)
    assert result is not None
    assert result.status == "ok"
    assert session.types()[-2:] == ["approval_resolved", "tool_execution_end"]


def test_what_was_remembered_is_listed_and_forgotten(session: Session) -> None:
    remembered(session)
    assert remembered_list(session.stream_id) == [{"toolName": "guarded", "by": "ada"}]
    with database.write_transaction():
        approvals_forget(stream_id=session.stream_id, tool_name="guarded", by="grace")
    assert remembered_list(session.stream_id) == []
    assert AuditEntry.objects.filter(actor="grace", action="approval.forget", target="guarded").exists()
    assert again(session).state == CallState.AWAITING_APPROVAL
    with pytest.raises(NotFound), database.write_transaction():
        approvals_forget(stream_id=session.stream_id, tool_name="guarded", by="grace")
