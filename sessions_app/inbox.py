"""Everything in a tenant that waits for a person: approvals to decide and questions to answer.

The list is in the order in which the waits expire, so that what would be lost first comes first.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from core_app import clock
from core_app.errors import BadRequest
from sessions_app.events import SESSION_EVENTS
from sessions_app.models import AgentSession
from tenants_app.principal import APPROVALS, Principal
from tools_app.models import ToolCall
from tools_app.selectors import WaitKey, waits_count, waits_page
from tools_app.states import CallState
from tools_app.waits import approval_event, question_event

MOST_COUNTED = 1000
"""The total is counted up to this number."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_CURSOR = re.compile(r"([0-9]{1,16})\.([A-Za-z0-9_]{1,40})")


@dataclass(frozen=True, slots=True)
class Wait:
    """One open wait with its session."""

    call: ToolCall
    session: AgentSession

    def to_wire(self) -> dict[str, Any]:
        """Returns the wait as clients see it; `approval` and `question` are the data of its event."""
        call, session = self.call, self.session
        approval = call.state == CallState.AWAITING_APPROVAL
        event = approval_event(call) if approval else question_event(call)
        since = call.requested_at if approval else call.started_at
        return {
            "kind": "approval" if approval else "question",
            "sessionId": session.public_id,
            "title": session.title,
            "agent": session.agent,
            "model": session.model,
            "requestId": call.run_id,
            "since": clock.iso_ms(since or call.created_at),
            "expiresAt": clock.iso_ms(call.expires_at) if call.expires_at else None,
            "approval": SESSION_EVENTS.data(event) if approval else None,
            "question": None if approval else SESSION_EVENTS.data(event),
        }


def inbox_page(principal: Principal, *, after: str | None, limit: int) -> tuple[list[Wait], str | None]:
    """Returns waits, those that expire first at the top, and the cursor of the next page. Raises BadRequest for a
    cursor that is none."""
    principal.require(APPROVALS)
    calls = waits_page(principal.tenant_id, after=_key(after), limit=limit + 1)
    sessions = _sessions(principal, calls[:limit])
    waits = [Wait(call, sessions[call.stream_id]) for call in calls[:limit] if call.stream_id in sessions]
    return waits, _cursor(calls[limit - 1]) if len(calls) > limit else None


def inbox_total(principal: Principal) -> int:
    """Returns the number of open waits, at most MOST_COUNTED."""
    principal.require(APPROVALS)
    return waits_count(principal.tenant_id, most=MOST_COUNTED)


def _sessions(principal: Principal, calls: Sequence[ToolCall]) -> Mapping[int, AgentSession]:
    rows = AgentSession.objects.filter(
        tenant_id=principal.tenant_id, stream_id__in={call.stream_id for call in calls}
    ).only("public_id", "title", "agent", "model", "stream_id")
    return {session.stream_id: session for session in rows}


def _cursor(call: ToolCall) -> str:
    assert call.expires_at is not None
    return f"{(call.expires_at - _EPOCH) // _MICROSECOND}.{call.pk}"


def _key(cursor: str | None) -> WaitKey | None:
    if not cursor:
        return None
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise BadRequest("'cursor' is the nextCursor of a page.", field="cursor")
    return WaitKey(_EPOCH + int(found[1]) * _MICROSECOND, found[2])
