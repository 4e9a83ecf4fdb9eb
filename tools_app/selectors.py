"""What a session waits for, and what its calls came to.

A stream belongs to one tenant: the upper room resolves it for the principal before it asks here.
"""

from __future__ import annotations

from typing import Literal

from tools_app.models import ToolCall
from tools_app.states import WAITING, CallState
from tools_app.transitions import result_of
from tools_app.types import CallResult, Pending
from tools_app.waits import approval_event, question_event, requested_event

WaitingKind = Literal["waiting_approval", "waiting_input", "waiting_tool"]


def pending(stream_id: int) -> Pending:
    """Everything that somebody outside has to settle, in the order the model asked for it."""
    calls = ToolCall.objects.filter(stream_id=stream_id, state__in=WAITING).order_by(
        "created_at", "message_id", "position"
    )
    found = Pending([], [], [])
    for call in calls:
        if call.state == CallState.AWAITING_APPROVAL:
            found.approvals.append(approval_event(call))
        elif call.state == CallState.AWAITING_ANSWER:
            found.questions.append(question_event(call))
        elif call.state == CallState.REQUESTED:
            found.tools.append(requested_event(call))
    return found


def run_blocked(run_id: str) -> bool:
    """Whether a call of the run waits for an outsider, so that no leg may begin."""
    return ToolCall.objects.filter(run_id=run_id, state__in=WAITING).exists()


def waiting_kind(run_id: str) -> WaitingKind | None:
    """The session's state while the run waits: approval before question before tool (contract); None: it need not."""
    states = set(ToolCall.objects.filter(run_id=run_id, state__in=WAITING).values_list("state", flat=True))
    if CallState.AWAITING_APPROVAL in states:
        return "waiting_approval"
    if CallState.AWAITING_ANSWER in states:
        return "waiting_input"
    return "waiting_tool" if states else None


def results(run_id: str) -> dict[str, CallResult]:
    """The settled calls of the run, by call id."""
    calls = ToolCall.objects.filter(run_id=run_id, state=CallState.SETTLED).order_by("created_at", "position")
    return {call.id: result_of(call) for call in calls}
