"""Queries over tool calls: the open waits of a session and the results of a run.

A stream belongs to one tenant; the caller resolves it for the principal first.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from django.db.models import Count, Q

from tools_app.models import ToolCall
from tools_app.signing import token_hash
from tools_app.states import WAITING, ApprovalState, CallState, CallStatus
from tools_app.transitions import result_of
from tools_app.types import CallResult, Pending
from tools_app.waits import approval_event, question_event, requested_event

_FAILURES = (CallStatus.ERROR, CallStatus.TIMEOUT, CallStatus.UNKNOWN)

WaitingKind = Literal["waiting_approval", "waiting_input", "waiting_tool"]

_FOR_PEOPLE = (CallState.AWAITING_APPROVAL, CallState.AWAITING_ANSWER)


@dataclass(frozen=True, slots=True)
class WaitKey:
    """The place of a wait in the order of `waits_page`."""

    expires_at: datetime
    call_id: str


def waits_page(tenant_id: int, *, after: WaitKey | None, limit: int) -> list[ToolCall]:
    """Returns the tenant's calls that wait for a person, in the order in which they expire, after a key."""
    rows = ToolCall.objects.filter(tenant_id=tenant_id, state__in=_FOR_PEOPLE).defer("result")
    if after is not None:
        later = Q(expires_at__gt=after.expires_at) | Q(expires_at=after.expires_at, pk__gt=after.call_id)
        rows = rows.filter(later, expires_at__gte=after.expires_at)
    return list(rows.order_by("expires_at", "pk")[:limit])


def waits_count(tenant_id: int, *, most: int) -> int:
    """Counts the tenant's calls that wait for a person, up to `most`."""
    return ToolCall.objects.filter(tenant_id=tenant_id, state__in=_FOR_PEOPLE)[:most].count()


def pending(stream_id: int) -> Pending:
    """The session's open waits, in the order in which the model requested the calls."""
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
    """Returns True while a call of the run waits for a person or a client and no approved one is to be executed, so
    that a leg could do nothing."""
    states = set(
        ToolCall.objects.filter(run_id=run_id, state__in=(*WAITING, CallState.APPROVED)).values_list("state", flat=True)
    )
    return bool(states) and CallState.APPROVED not in states


def token_known(token: str) -> bool:
    """Returns True if a call's `resultUrl` ends in the token."""
    return ToolCall.objects.filter(token_hash=token_hash(token)).exists()


def waiting_kind(run_id: str) -> WaitingKind | None:
    """The session's state while the run waits: approval before question before tool; None if it waits for nothing
    (docs/protocol-native.md, "A session's life")."""
    states = set(ToolCall.objects.filter(run_id=run_id, state__in=WAITING).values_list("state", flat=True))
    if CallState.AWAITING_APPROVAL in states:
        return "waiting_approval"
    if CallState.AWAITING_ANSWER in states:
        return "waiting_input"
    return "waiting_tool" if states else None


def calls_with_approval(stream_id: int, *, limit: int) -> list[ToolCall]:
    """Returns the newest calls of a session that needed an approval, the oldest of them first."""
    rows = ToolCall.objects.filter(stream_id=stream_id, approval_id__isnull=False).defer("result")
    return list(rows.order_by("-requested_at")[:limit])[::-1]


def calls_by_approval(stream_id: int, approval_ids: Collection[str]) -> dict[str | None, ToolCall]:
    """Returns calls of a session by the ids of their approvals."""
    rows = ToolCall.objects.filter(stream_id=stream_id, approval_id__in=approval_ids).defer("result")
    return {call.approval_id: call for call in rows}


def calls_failed(stream_id: int, *, limit: int) -> list[ToolCall]:
    """Returns the newest calls of a session that failed or timed out, the oldest of them first. A rejection is no
    failure."""
    rows = ToolCall.objects.filter(stream_id=stream_id, state=CallState.SETTLED, status__in=_FAILURES)
    return list(rows.defer("args", "decided_args").order_by("-settled_at")[:limit])[::-1]


def call_outcomes(stream_ids: Collection[int]) -> list[dict[str, Any]]:
    """Returns the calls of sessions by tool: how many there are, settled well, failed and needed an approval, and how
    approvals were decided (`edited` are approvals with other arguments)."""
    approved = Q(approval_state=ApprovalState.APPROVED)
    totals = {
        "requested": Count("pk"),
        "completed": Count("pk", filter=Q(status=CallStatus.OK)),
        "failed": Count("pk", filter=Q(status__in=_FAILURES)),
        "requires_approval": Count("pk", filter=Q(approval_id__isnull=False)),
        "approved": Count("pk", filter=approved & Q(decided_args__isnull=True)),
        "edited": Count("pk", filter=approved & Q(decided_args__isnull=False)),
        "rejected": Count("pk", filter=Q(approval_state=ApprovalState.REJECTED)),
    }
    rows = ToolCall.objects.filter(stream_id__in=stream_ids).order_by("tool_name")
    return [dict(row) for row in rows.values("tool_name").annotate(**totals)]


def results(run_id: str) -> dict[str, CallResult]:
    """The settled calls of the run, by call id."""
    calls = ToolCall.objects.filter(run_id=run_id, state=CallState.SETTLED).order_by("created_at", "position")
    return {call.id: result_of(call) for call in calls}
