"""The transactions of a running leg: checkpoints, delivery of steering texts, and the leg's end. Each is fenced: it
fails with LeaseLost once the leg has lost its lease."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar

from django.db.models import F

from agents_app.engine import Completion, Failed, Finished, LegOutcome, PlannedCall, Stopped, Usage
from core_app import clock, jsontext
from core_app.database import write_transaction
from events_app import log
from events_app.lease import Fence
from events_app.types import Event
from sessions_app.events import MessageEnd, Steering, ToolCalls
from sessions_app.legs.start import LegStart, lease_release_if_idle
from sessions_app.models import AgentSession, Run, RunState, SteeringNote
from sessions_app.services.messages import message_add
from sessions_app.services.provider_wait import run_put_back
from sessions_app.services.run_end import run_complete, run_fail, run_stop
from sessions_app.services.run_pause import run_pause
from tenants_app.ledger_kinds import estimated_kind
from tenants_app.numbers import bounded_tokens, bounded_usd
from tenants_app.services.ledger import ledger_record
from tools_app import calls

Result = TypeVar("Result")


def run_fenced(fence: Fence, write: Callable[[], Result]) -> Result:
    """Calls `write` in a write transaction, with the stream locked. Raises LeaseLost when the lease is not alive."""
    with write_transaction():
        log.lock_fenced(fence)
        return write()


def completion_checkpoint(
    start: LegStart, completion: Completion, request: int, *, first_output_at: datetime | None = None
) -> tuple[PlannedCall, ...]:
    """Commits one model response in one transaction: its message, planned calls, usage and events. `request` is the
    number of its request (`sessions_app.legs.requests`), `first_output_at` the time of the leg's first text or
    thought."""
    return run_fenced(start.fence, lambda: _checkpoint(start, completion, request, first_output_at))


def _checkpoint(
    start: LegStart, completion: Completion, request: int, first_output_at: datetime | None
) -> tuple[PlannedCall, ...]:
    run = Run.objects.get(pk=start.run.pk)
    text = jsontext.clean_text(completion.text)
    planned: tuple[PlannedCall, ...] = ()
    if completion.calls:
        planned = calls.calls_plan(
            tenant_id=run.tenant_id,
            stream_id=start.fence.stream_id,
            run_id=run.pk,
            message_id=completion.message_id,
            requests=completion.calls,
        )
    message_add(
        session_id=start.session.pk,
        run_id=run.pk,
        message_id=completion.message_id,
        role="assistant",
        content=text,
        calls=_calls_text(planned),
        payload=completion.payload.decode(),
    )
    _spend(start, run, completion, request, first_output_at)
    if completion.kept_from is not None:
        AgentSession.objects.filter(pk=start.session.pk).update(
            kept_from=completion.kept_from, kept_for=completion.usage.model
        )
    events: list[Event] = []
    if text:
        events.append(MessageEnd(message_id=completion.message_id, content=text))
    if planned:
        events.append(ToolCalls(count=len(planned)))
    log.append(start.fence.stream_id, events, run_id=run.pk, fence=start.fence)
    return planned


def _calls_text(planned: tuple[PlannedCall, ...]) -> str | None:
    if not planned:
        return None
    return jsontext.encode_text(
        [{"callId": call.call_id, "name": call.name, "arguments": call.args} for call in planned]
    )


def leg_spend(start: LegStart, usage: Usage, request: int) -> None:
    """Commits the usage of a side call: a model request that is no response of the conversation, such as a summary."""
    run_fenced(start.fence, lambda: _spend_side_call(start, usage, request))


def _spend_side_call(start: LegStart, usage: Usage, request: int) -> None:
    run = Run.objects.get(pk=start.run.pk)
    counts = _record_usage(start, run, usage, request)
    Run.objects.filter(pk=run.pk).update(**counts)
    AgentSession.objects.filter(pk=start.session.pk).update(**counts)


def _spend(start: LegStart, run: Run, completion: Completion, request: int, first_output_at: datetime | None) -> None:
    counts = {"turns": F("turns") + 1, **_record_usage(start, run, completion.usage, request)}
    progress: dict[str, Any] = {"stalled": 0, "outage_since": None, "outage_tries": 0, "outage_reason": None}
    if run.first_output_ms is None and first_output_at is not None:
        # In the statement that is executed anyway: the time costs no statement of its own.
        progress["first_output_ms"] = clock.elapsed_ms(run.created_at, first_output_at)
    Run.objects.filter(pk=run.pk).update(**progress, **counts)
    AgentSession.objects.filter(pk=start.session.pk).update(
        tool_calls=F("tool_calls") + len(completion.calls), updated_at=clock.now(), **counts
    )


def _record_usage(start: LegStart, run: Run, usage: Usage, request: int) -> dict[str, Any]:
    """Writes the usage into the ledger, in place of the request's open row. Returns the changes of the totals that the
    run and the session keep."""
    usage = _bounded(usage)
    ledger_record(
        tenant_id=run.tenant_id,
        api_key_id=run.api_key_id,
        session_ref=start.session.public_id,
        run_id=run.pk,
        response_no=request,
        model=usage.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=usage.cost_usd,
        end_user=run.end_user,
        kind=estimated_kind("session") if usage.estimated else "session",
    )
    cost = usage.cost_usd if usage.cost_usd is not None else Decimal(0)
    known = {} if usage.cost_usd is not None else {"cost_known": False}
    return {
        "input_tokens": F("input_tokens") + usage.input_tokens,
        "output_tokens": F("output_tokens") + usage.output_tokens,
        "cached_tokens": F("cached_tokens") + usage.cached_tokens,
        "reasoning_tokens": F("reasoning_tokens") + usage.reasoning_tokens,
        "cost_usd": F("cost_usd") + cost,
        **known,
    }


def _bounded(usage: Usage) -> Usage:
    """Returns the usage as the ledger will have it: an engine may report any number."""
    return replace(
        usage,
        input_tokens=bounded_tokens(usage.input_tokens),
        output_tokens=bounded_tokens(usage.output_tokens),
        cached_tokens=bounded_tokens(usage.cached_tokens),
        reasoning_tokens=bounded_tokens(usage.reasoning_tokens),
        cost_usd=bounded_usd(usage.cost_usd),
    )


def steering_deliver(start: LegStart) -> tuple[str, ...]:
    """Stores the run's pending steering texts as user messages and appends their events, each exactly once. Returns
    the texts."""
    if not SteeringNote.objects.filter(run_id=start.run.pk, delivered_at__isnull=True).exists():
        return ()
    return run_fenced(start.fence, lambda: _deliver(start))


def _deliver(start: LegStart) -> tuple[str, ...]:
    notes = list(SteeringNote.objects.filter(run_id=start.run.pk, delivered_at__isnull=True).order_by("pk"))
    for note in notes:
        message_add(session_id=start.session.pk, run_id=start.run.pk, role="user", content=note.text)
    SteeringNote.objects.filter(pk__in=[note.pk for note in notes]).update(delivered_at=clock.now())
    log.append(
        start.fence.stream_id,
        [Steering(text=note.text) for note in notes],
        run_id=start.run.pk,
        fence=start.fence,
    )
    return tuple(note.text for note in notes)


def leg_end(start: LegStart, outcome: LegOutcome) -> bool:
    """Commits the outcome of a leg: the run ends, waits (also for its provider), or becomes ready again because a text
    joined it meanwhile. Returns True if the session has no leg to go on with: the lease is released then."""

    def end() -> bool:
        _end(start, outcome)
        return lease_release_if_idle(start)

    return run_fenced(start.fence, end)


def leg_time_out(start: LegStart, seconds: int) -> None:
    """Ends a run that exceeded GATEWAY_MAX_RUN_SECONDS."""
    message = f"The run took longer than {seconds} s (GATEWAY_MAX_RUN_SECONDS)."

    def stop() -> None:
        session, run = _reload(start)
        run_stop(session=session, run=run, reason="timeout", message=message, fence=start.fence)

    run_fenced(start.fence, stop)


def _reload(start: LegStart) -> tuple[AgentSession, Run]:
    return AgentSession.objects.get(pk=start.session.pk), Run.objects.get(pk=start.run.pk)


def _end(start: LegStart, outcome: LegOutcome) -> None:
    session, run = _reload(start)
    if isinstance(outcome, Finished):
        if SteeringNote.objects.filter(run_id=run.pk, delivered_at__isnull=True).exists():
            run_pause(session, run, RunState.READY)
        else:
            run_complete(session=session, run=run, content=outcome.content, fence=start.fence)
    elif isinstance(outcome, Failed) and outcome.resume_after is not None:
        run_put_back(session=session, run=run, failed=outcome, fence=start.fence)
    elif isinstance(outcome, Failed):
        run_fail(
            session=session,
            run=run,
            code=outcome.code,
            reason=outcome.reason,
            retryable=outcome.retryable,
            fence=start.fence,
        )
    elif isinstance(outcome, Stopped):
        run_stop(session=session, run=run, reason=outcome.reason, message=outcome.message, fence=start.fence)
    else:
        run_pause(session, run, RunState.WAITING if calls.run_blocked(run.pk) else RunState.READY)
