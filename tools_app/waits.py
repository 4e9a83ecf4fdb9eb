"""The waits of tool calls: for an approval, for the connected client, or for the user's answer.

Runs in the caller's transaction with the stream locked. Every wait gets its expiry here, by the database's clock.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from core_app import jsontext
from core_app.clock import iso_ms
from core_app.database import database_moment
from core_app.ids import new_id
from events_app import log
from events_app.lease import Fence
from events_app.types import Event
from tools_app.events import ApprovalRequired, AskUser, ToolCallRequested
from tools_app.executors.ask_user import question_of
from tools_app.models import ToolCall
from tools_app.states import ApprovalState, CallKind, CallState
from tools_app.targets import Target
from tools_app.transitions import move


def request_approval(call: ToolCall, target: Target, *, mark: str | None, seconds: float, fence: Fence) -> None:
    """Makes the call wait for a person's decision, which can be remembered under `mark`."""
    moment = database_moment()
    move(
        call,
        CallState.AWAITING_APPROVAL,
        kind=target.kind,
        approval_id=new_id("apr"),
        approval_state=ApprovalState.PENDING,
        approval_hint=target.hint,
        target_mark=mark,
        requested_at=moment,
        expires_at=moment + timedelta(seconds=seconds),
    )
    log.append(call.stream_id, [approval_event(call)], run_id=call.run_id, fence=fence)


def open_wait(
    call: ToolCall,
    target: Target,
    *,
    seconds: float,
    fence: Fence | None = None,
    before: Sequence[Event] = (),
    **fields: object,
) -> bool:
    """Opens the wait of a client tool or a question, after the events `before`; False if the call is to be executed."""
    moment = database_moment()
    if target.kind is CallKind.CLIENT:
        expires = moment + timedelta(seconds=target.client_seconds)
        move(call, CallState.REQUESTED, kind=target.kind, expires_at=expires, started_at=moment, **fields)
        event: Event = requested_event(call)
    elif target.is_question:
        question, options = question_of(call.effective_args)
        expires = moment + timedelta(seconds=seconds)
        move(
            call,
            CallState.AWAITING_ANSWER,
            kind=target.kind,
            ref=new_id("ask"),
            question=question,
            options=options,
            expires_at=expires,
            started_at=moment,
            **fields,
        )
        event = question_event(call)
    else:
        return False
    log.append(call.stream_id, [*before, event], run_id=call.run_id, fence=fence)
    return True


def approval_event(call: ToolCall) -> ApprovalRequired:
    """The event of a pending approval; its data is also the approval's wire object."""
    assert call.approval_id is not None
    assert call.requested_at is not None
    assert call.expires_at is not None
    return ApprovalRequired(
        approval_id=call.approval_id,
        call_id=call.id,
        tool_name=call.tool_name,
        args=jsontext.decode(call.args),
        args_hash=call.args_hash,
        hint=call.approval_hint,
        requested_at=iso_ms(call.requested_at),
        expires_at=iso_ms(call.expires_at),
    )


def requested_event(call: ToolCall) -> ToolCallRequested:
    """The event that asks the connected client to run a tool."""
    assert call.expires_at is not None
    return ToolCallRequested(
        call_id=call.id, tool_name=call.tool_name, args=call.effective_args, expires_at=iso_ms(call.expires_at)
    )


def question_event(call: ToolCall) -> AskUser:
    """The event of an open question."""
    assert call.ref is not None
    assert call.question is not None
    assert call.expires_at is not None
    return AskUser(
        ref=call.ref,
        question=call.question,
        options=jsontext.decode(call.options or "[]"),
        expires_at=iso_ms(call.expires_at),
    )
