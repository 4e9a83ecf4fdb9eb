"""Moving a call from one state to the next, and the one way to settle it.

Every function here runs in the caller's transaction with the stream's row locked (`events_app.log.lock`) and
the call read after that. The law of a call's events: whatever happens, exactly one `tool_execution_end` when it
settles; a `tool_execution_start` before it only if it was executed, once across all attempts.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from core_app import jsontext
from core_app.database import database_now
from events_app import log
from events_app.lease import Fence
from events_app.types import Event
from tools_app.events import ToolExecutionEnd
from tools_app.models import ToolCall
from tools_app.states import MOVES, CallState
from tools_app.types import CallResult, OnSettled, SettledCall

MAX_MODEL_BYTES = 256 * 1024
"""What the model is told of one result; more would fill its context with one call."""

MAX_EVENT_RESULT_BYTES = 64 * 1024
"""What `tool_execution_end` carries (contract)."""

Status = Literal["ok", "error", "rejected", "timeout"]


class IllegalMove(Exception):
    """A move that the table of states does not have, or that somebody else made first: a bug."""


def database_moment() -> datetime:
    """The database's clock, the only one that expiries are compared by."""
    return datetime.fromtimestamp(database_now(), UTC)


def move(call: ToolCall, to: CallState, **fields: Any) -> None:
    """Moves `call` by a conditional UPDATE, together with `fields`."""
    if to not in MOVES[CallState(call.state)]:
        raise IllegalMove(f"{call.state} -> {to}")
    fields["state"] = to
    if ToolCall.objects.filter(pk=call.pk, state=call.state).update(**fields) != 1:
        raise IllegalMove(f"{call.state} -> {to}: the call has moved meanwhile")
    for name, value in fields.items():
        setattr(call, name, value)


def settle(
    call: ToolCall,
    *,
    status: Status,
    content: str,
    on_settled: OnSettled,
    fence: Fence | None = None,
    before: Sequence[Event] = (),
    **fields: Any,
) -> CallResult:
    """Ends the call: its row, the events `before` it, its `tool_execution_end`, and the upper room's message."""
    moment = database_moment()
    duration = round((moment - call.started_at).total_seconds() * 1000) if call.started_at else 0
    told = for_model(content)
    move(
        call,
        CallState.SETTLED,
        status=status,
        result=told,
        settled_at=moment,
        duration_ms=max(0, duration),
        **fields,
    )
    shown, truncated = cut(told, MAX_EVENT_RESULT_BYTES)
    end = ToolExecutionEnd(
        call_id=call.id,
        tool_name=call.tool_name,
        status=status,
        result=shown,
        duration_ms=max(0, duration),
        truncated=truncated,
    )
    log.append(call.stream_id, [*before, end], run_id=call.run_id, fence=fence)
    on_settled(SettledCall(call.id, call.run_id, call.stream_id, call.tool_name, told, status))
    return CallResult(call.id, status, told)


def result_of(call: ToolCall) -> CallResult:
    """The result of a settled call."""
    return CallResult(call.id, call.status, call.result or "")  # type: ignore[arg-type]  # a CHECK keeps `status`


def for_model(content: str) -> str:
    """`content`, cleaned and bounded; what was cut is said."""
    told, truncated = cut(jsontext.clean_text(content), MAX_MODEL_BYTES)
    return f"{told}\n[cut: the result was longer than {MAX_MODEL_BYTES // 1024} KiB]" if truncated else told


def cut(text: str, limit: int) -> tuple[str, bool]:
    """`text` in at most `limit` bytes of UTF-8, and whether something was lost."""
    if len(text) * 4 <= limit:
        return text, False
    encoded = text.encode()
    return (text, False) if len(encoded) <= limit else (encoded[:limit].decode(errors="ignore"), True)
