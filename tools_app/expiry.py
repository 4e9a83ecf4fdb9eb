"""Expiry and cancellation of tool calls that wait.

Both settle the call and resolve its approval or question, so that no client keeps a dialog open for a call that is
over.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Any

from django.db.models.functions import Now

from core_app.database import write_transaction
from events_app import log
from events_app.removal import GoOn
from events_app.types import Event
from tools_app.events import ApprovalResolved, QuestionResolved
from tools_app.models import ToolCall
from tools_app.states import STARTED, WAITING, ApprovalState, CallState
from tools_app.transitions import settle
from tools_app.types import UNKNOWN_EFFECT, OnSettled, Status

logger = logging.getLogger(__name__)

_EXPIRED: dict[str, tuple[Status, str]] = {
    CallState.AWAITING_APPROVAL: ("rejected", "Nobody approved this call in time: it was not made."),
    CallState.AWAITING_ANSWER: ("rejected", "The user did not answer in time."),
    CallState.REQUESTED: ("timeout", "The client did not run the tool in time."),
    CallState.ACCEPTED: ("timeout", "The tool took the call, but its result did not come in time."),
}


def calls_expire(
    *, limit: int = 100, on_settled: OnSettled, go_on: GoOn = lambda: True, failed: set[int] | None = None
) -> list[tuple[int, str]]:
    """Settles calls whose wait has expired, `limit` at a time until none is left, in one transaction per stream.

    Returns each stream and run that was touched, once; the caller checks whether a leg can start. Stops when `go_on`,
    which is asked before each stream, returns False. Streams that fail are added to `failed` and skipped from then on.
    """
    failed = set() if failed is None else failed
    touched: dict[tuple[int, str], None] = {}
    while streams := _find_expired(limit, failed):
        for stream_id in streams:
            if not go_on():
                return list(touched)
            try:
                touched |= dict.fromkeys(_expire(stream_id, limit, on_settled))
            except Exception:  # contains: one session's fault must not keep other sessions' calls waiting for ever
                logger.exception("call_expiry_failed", extra={"stream_id": stream_id})
                failed.add(stream_id)
    return list(touched)


def _find_expired(limit: int, without: Collection[int]) -> list[int]:
    late = ToolCall.objects.filter(state__in=WAITING, expires_at__lte=Now()).exclude(stream_id__in=without)
    return list(dict.fromkeys(late.order_by("expires_at").values_list("stream_id", flat=True)[:limit]))


def calls_cancel(*, stream_id: int, run_id: str, reason: str, on_settled: OnSettled) -> int:
    """Settles every open call of the run and returns their number: as `rejected`, or as `unknown` if it has started
    already. `reason` is a sentence for the model."""
    with write_transaction(savepoint=False):
        log.lock(stream_id)
        calls = ToolCall.objects.filter(stream_id=stream_id, run_id=run_id).exclude(state=CallState.SETTLED)
        for call in (found := list(calls.order_by("created_at", "position"))):
            started = call.state in STARTED
            content = f"{reason} {UNKNOWN_EFFECT}" if started else reason
            status: Status = "unknown" if started else "rejected"
            _end(call, status, content, on_settled, ApprovalState.REJECTED, "cancelled")
    return len(found)


def _expire(stream_id: int, limit: int, on_settled: OnSettled) -> list[tuple[int, str]]:
    with write_transaction():
        log.lock(stream_id)
        late = ToolCall.objects.filter(stream_id=stream_id, state__in=WAITING, expires_at__lte=Now())
        calls = list(late.order_by("expires_at", "position")[:limit])
        for call in calls:
            status, content = _EXPIRED[call.state]
            _end(call, status, content, on_settled, ApprovalState.EXPIRED, "expired")
    return [(call.stream_id, call.run_id) for call in calls]


def _end(
    call: ToolCall, status: Status, content: str, on_settled: OnSettled, approval: ApprovalState, question: Any
) -> None:
    fields: dict[str, Any] = {}
    events: list[Event] = []
    if call.state == CallState.AWAITING_APPROVAL:
        assert call.approval_id is not None
        comment = None if approval is ApprovalState.EXPIRED else content
        resolution: Any = str(approval)
        events.append(ApprovalResolved(approval_id=call.approval_id, status=resolution, by=None, comment=comment))
        fields["approval_state"] = approval
    elif call.state == CallState.AWAITING_ANSWER:
        assert call.ref is not None
        events.append(QuestionResolved(ref=call.ref, status=question, response=None))
    settle(call, status=status, content=content, on_settled=on_settled, before=events, **fields)
