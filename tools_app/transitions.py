"""Transitions of a tool call from one state to the next, and the only way to settle it.

Every function runs in the caller's transaction with the stream's row locked (`events_app.log.lock`) and the call read
after that. A call has exactly one `tool_execution_end`, when it settles, and one `tool_execution_start` before it if it
was executed, however many attempts that took.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core_app import clock, jsontext
from core_app.database import database_moment
from events_app import log
from events_app.lease import Fence
from events_app.types import Event
from tools_app.events import ToolExecutionEnd
from tools_app.models import ToolCall
from tools_app.states import MOVES, CallState
from tools_app.types import CallResult, Media, OnSettled, SettledCall, Status

MAX_MODEL_BYTES = 256 * 1024
"""Bytes of one result that the model reads; more would fill its context with a single call."""

MAX_EVENT_RESULT_BYTES = 64 * 1024
"""Bytes of a result in `tool_execution_end` (docs/protocol-native.md, "Events")."""


class IllegalMove(Exception):
    """A transition that the table of states does not allow, or that another writer made first: a bug."""


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
    media: tuple[Media, ...] = (),
    **fields: Any,
) -> CallResult:
    """Settles the call: updates the row, appends the events `before` and `tool_execution_end`, calls `on_settled`."""
    moment = database_moment()
    duration = clock.elapsed_ms(call.started_at, moment) if call.started_at else 0
    text = content if call.is_outside else model_text(content)
    move(
        call,
        CallState.SETTLED,
        status=status,
        result=text,
        settled_at=moment,
        duration_ms=max(0, duration),
        media=len(media),
        **fields,
    )
    event_text, truncated = truncate(text, MAX_EVENT_RESULT_BYTES)
    end = ToolExecutionEnd(
        call_id=call.id,
        tool_name=call.tool_name,
        status=status,
        result=event_text,
        duration_ms=max(0, duration),
        truncated=truncated,
    )
    log.append(call.stream_id, [*before, end], run_id=call.run_id or None, fence=fence)
    on_settled(SettledCall(call.id, call.run_id, call.stream_id, call.tool_name, text, status, media))
    return CallResult(call.id, status, text, len(media))


def result_of(call: ToolCall) -> CallResult:
    """The result of a settled call."""
    return CallResult(call.id, call.status, call.result or "", call.media)  # type: ignore[arg-type]  # a CHECK keeps `status`


def model_text(content: str) -> str:
    """`content`, cleaned and bounded; what was cut is said."""
    text, truncated = truncate(jsontext.clean_text(content), MAX_MODEL_BYTES)
    return f"{text}\n[cut: the result was longer than {MAX_MODEL_BYTES // 1024} KiB]" if truncated else text


def truncate(text: str, limit: int) -> tuple[str, bool]:
    """`text` in at most `limit` bytes of UTF-8, and whether something was lost."""
    if len(text) * 4 <= limit:
        return text, False
    encoded = text.encode()
    return (text, False) if len(encoded) <= limit else (encoded[:limit].decode(errors="ignore"), True)
