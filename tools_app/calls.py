"""Tool calls as the runner uses them: planned with a completion, then moved as far as they can go.

Every transition is one transaction, fenced by the leg's lease, with its events inside; slow steps run between two
transactions. A settled call is never executed again. A call that was interrupted while it ran is executed again with
the same id. If its tool is not idempotent, it is settled as `unknown` instead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from weakref import WeakValueDictionary

from core_app import jsontext
from core_app.database import database_moment, run_leg, write_transaction
from core_app.errors import BadRequest, NotFound
from core_app.ids import new_id
from core_app.tracing import Attributes, content_attribute, span
from events_app import log
from events_app.lease import Fence
from tenants_app.models import Tenant
from tools_app.decisions import approval_decide, callback_result, client_result, question_answer
from tools_app.events import ToolCallUnknown, ToolExecutionStart
from tools_app.execution import execute
from tools_app.executors import builtin
from tools_app.executors.base import Execution
from tools_app.expiry import calls_cancel, calls_expire
from tools_app.fingerprint import fingerprint
from tools_app.models import ToolCall
from tools_app.remembered import approve_remembered, compute_mark, is_remembered
from tools_app.selectors import pending, results, run_blocked, token_known, waiting_kind
from tools_app.signing import result_token, token_hash
from tools_app.states import WAITING, CallKind, CallState
from tools_app.targets import Target, known_names, needs_approval, target_of
from tools_app.transitions import move, result_of, settle
from tools_app.types import (
    PERMITTED,
    UNKNOWN_EFFECT,
    CallContext,
    CallResult,
    Later,
    OnSettled,
    Outcome,
    PlannedCall,
    Status,
    ToolRequest,
)
from tools_app.waits import open_wait, request_approval

__all__ = [
    "approval_decide",
    "call_execute",
    "call_refuse",
    "callback_result",
    "calls_cancel",
    "calls_expire",
    "calls_plan",
    "client_result",
    "pending",
    "question_answer",
    "results",
    "run_blocked",
    "token_known",
    "waiting_kind",
]

RESULT_SECONDS = 24 * 3600
"""Lifetime of the `resultUrl` after a callback responded 202
(docs/protocol-native.md, "Tools, approvals, questions")."""

MAX_NAME_CHARACTERS = 200
MAX_KNOWN_NAMES = 50
"""Tool names listed to a model that asked for an unknown tool."""

_call_locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
"""One lock per call under way."""


def calls_plan(
    *, tenant_id: int, stream_id: int, run_id: str, message_id: str, requests: Sequence[ToolRequest]
) -> tuple[PlannedCall, ...]:
    """Creates a row for each call of one completion, in the caller's transaction; returns the calls with the gateway's
    ids."""
    rows = [
        ToolCall(
            id=new_id("call"),
            tenant_id=tenant_id,
            stream_id=stream_id,
            run_id=run_id,
            message_id=message_id,
            position=position,
            provider_id=jsontext.clean_text(request.provider_id)[:MAX_NAME_CHARACTERS],
            tool_name=jsontext.clean_text(request.name)[:MAX_NAME_CHARACTERS],
            args=(args := _encode_args(request.args)),
            args_hash=fingerprint(jsontext.decode(args)),
            for_client=request.for_client,
            for_agent=request.for_agent,
            approval_hint=request.approval_hint,
        )
        for position, request in enumerate(requests)
    ]
    ToolCall.objects.bulk_create(rows)
    return tuple(PlannedCall(row.id, row.tool_name, row.effective_args) for row in rows)


async def call_execute(*, call_id: str, fence: Fence, context: CallContext, on_settled: OnSettled) -> CallResult | None:
    """Executes a call, or opens its wait; returns its result, or None while it waits for a person or a client.

    Raises LeaseLost when the fence is stale; nothing was written then. A cancellation leaves the call running, and the
    next leg takes it up. Several ids may be executed at once.
    """
    async with _call_locks.setdefault(call_id, asyncio.Lock()):
        await builtin.prepare(context.builtins, context.tenant_id)
        step = await run_leg(context.tenant_id, _begin, call_id, fence, context, on_settled)
        if not isinstance(step, Execution):
            return step
        outcome = await _execute_traced(step)
        return await run_leg(context.tenant_id, _finish, call_id, fence, outcome, on_settled)


async def _execute_traced(execution: Execution) -> Outcome | Later:
    attributes: Attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": execution.target.name,
        "gen_ai.tool.call.id": execution.call_id,
        "gen_ai.tool.type": "function",
        "gen_ai.conversation.id": execution.context.session_id,
        "gateway.run.id": execution.context.request_id,
        "gateway.tool.kind": execution.target.kind,
        **content_attribute("gen_ai.tool.call.arguments", lambda: jsontext.encode_text(execution.args)),
    }
    with span(f"execute_tool {execution.target.name}", attributes) as tool:
        outcome = await execute(execution)
        if isinstance(outcome, Later):
            tool.set_attributes({"gateway.tool.status": "accepted"})
            return outcome
        tool.set_attributes({"gateway.tool.status": outcome.status})
        tool.set_attributes(content_attribute("gen_ai.tool.call.result", lambda: outcome.content))
        if outcome.status != "ok":
            tool.mark_failed(outcome.status)
        return outcome


async def call_refuse(
    *, call_id: str, fence: Fence, context: CallContext, reason: str, on_settled: OnSettled
) -> CallResult | None:
    """Settles a forbidden call as rejected; the model reads `reason`. Returns None while the call is awaited."""
    return await run_leg(context.tenant_id, _refuse, call_id, fence, reason, on_settled)


def _refuse(call_id: str, fence: Fence, reason: str, on_settled: OnSettled) -> CallResult | None:
    with write_transaction():
        log.lock_fenced(fence)
        call = ToolCall.objects.get(pk=call_id)
        if call.state == CallState.SETTLED:
            return result_of(call)
        if call.state in WAITING:
            return None
        return settle(call, status="rejected", content=reason, on_settled=on_settled, fence=fence)


def _encode_args(args: Mapping[str, Any] | str) -> str:
    try:
        return jsontext.encode_text(args if isinstance(args, str) else dict(args))
    except BadRequest:
        # Nested too deep to be stored. Text is no JSON object, so the model reads that its arguments are invalid.
        return jsontext.encode_text("[nested too deep]")


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One attempt at a call, with the checks that were made before its transaction."""

    call: ToolCall
    target: Target | None
    violation: str | None
    known: list[str]
    fence: Fence
    context: CallContext
    on_settled: OnSettled

    def settle(self, content: str, status: Status = "error", **more: Any) -> CallResult:
        return settle(self.call, status=status, content=content, on_settled=self.on_settled, fence=self.fence, **more)


def _begin(call_id: str, fence: Fence, context: CallContext, on_settled: OnSettled) -> CallResult | Execution | None:
    seen = ToolCall.objects.filter(pk=call_id, stream_id=fence.stream_id).first()
    if seen is None:
        raise NotFound("The session has no call of that id.", field="callId")
    if seen.state == CallState.SETTLED:
        return result_of(seen)
    # Checking arguments is slow, so it comes before the transaction, which locks the stream.
    target = target_of(seen, context.builtins)
    violation = target.violation(seen.effective_args) if target else None
    known = [] if target else known_names(seen.stream_id, context.builtins, seen.tenant_id)[:MAX_KNOWN_NAMES]
    with write_transaction():
        log.lock_fenced(fence)
        call = ToolCall.objects.get(pk=call_id)
        return _advance(_Attempt(call, target, violation, known, fence, context, on_settled))


def _advance(attempt: _Attempt) -> CallResult | Execution | None:
    call, target = attempt.call, attempt.target
    if call.state == CallState.SETTLED:
        return result_of(call)
    if call.state in WAITING:
        return None
    if call.state == CallState.RUNNING:
        return _resume(attempt)
    if target is None:
        return _settle_unknown(attempt)
    if attempt.violation is not None:
        return attempt.settle(attempt.violation, kind=target.kind)
    context = attempt.context
    if call.state == CallState.PLANNED and needs_approval(target, context.approvals):
        if not is_remembered(call, target):
            mark, seconds = compute_mark(target), context.approval_timeout_seconds
            request_approval(call, target, mark=mark, seconds=seconds, fence=attempt.fence)
            return None
        approve_remembered(call, target, fence=attempt.fence)
    if call.for_agent:
        return attempt.settle(PERMITTED, status="ok", kind=target.kind)
    if target.kind is CallKind.CLIENT or target.is_question:
        if call.state == CallState.APPROVED:
            return attempt.settle("The tool was replaced while its approval was awaited; call it again.")
        open_wait(call, target, seconds=context.approval_timeout_seconds, fence=attempt.fence)
        return None
    return _start(attempt, target)


def _start(attempt: _Attempt, target: Target) -> Execution:
    call = attempt.call
    move(
        call,
        CallState.RUNNING,
        kind=target.kind,
        epoch=attempt.fence.epoch,
        starts=1,
        started_at=database_moment(),
        expires_at=None,
        token_hash=token_hash(result_token(call.id)) if target.kind is CallKind.CALLBACK else None,
    )
    event = ToolExecutionStart(call_id=call.id, tool_name=call.tool_name, args=call.effective_args)
    log.append(call.stream_id, [event], run_id=call.run_id, fence=attempt.fence)
    return _make_execution(attempt, target)


def _resume(attempt: _Attempt) -> CallResult | Execution:
    """Takes up a call whose last attempt died or was cancelled while it ran."""
    call, target = attempt.call, attempt.target
    if target is None or not target.idempotent or call.kind != target.kind:
        return attempt.settle(f"The call was interrupted. {UNKNOWN_EFFECT}", status="unknown")
    ToolCall.objects.filter(pk=call.pk).update(epoch=attempt.fence.epoch, starts=call.starts + 1)
    return _make_execution(attempt, target)


def _settle_unknown(attempt: _Attempt) -> CallResult:
    call = attempt.call
    known = f"The tools are: {', '.join(attempt.known)}." if attempt.known else "There are no tools."
    return attempt.settle(
        f"There is no tool of that name. {known}",
        before=[ToolCallUnknown(call_id=call.id, tool_name=call.tool_name)],
        kind=CallKind.UNKNOWN,
    )


def _make_execution(attempt: _Attempt, target: Target) -> Execution:
    tenant = Tenant.objects.get(pk=attempt.call.tenant_id)
    return Execution(
        call_id=attempt.call.id,
        args=attempt.call.effective_args,
        target=target,
        tenant=tenant,
        context=replace(attempt.context, allow_private=tenant.allow_private),
        token_hash=attempt.call.token_hash,
    )


def _finish(call_id: str, fence: Fence, outcome: Outcome | Later, on_settled: OnSettled) -> CallResult | None:
    with write_transaction():
        log.lock_fenced(fence)
        call = ToolCall.objects.get(pk=call_id)
        if call.state == CallState.SETTLED:
            # The late result arrived before the 202 did, or the run was aborted.
            return result_of(call)
        if isinstance(outcome, Later):
            move(call, CallState.ACCEPTED, expires_at=database_moment() + timedelta(seconds=RESULT_SECONDS))
            return None
        return settle(
            call,
            status=outcome.status,
            content=outcome.content,
            media=outcome.media,
            on_settled=on_settled,
            fence=fence,
        )
