"""What a leg commits on its way: checkpoints, delivered steering, waiting, its end. Every write is fenced."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any, TypeVar

from django.db.models import F

from agents_app.engine import Failed, Finished, LegOutcome, ModelTurn, PlannedCall, Stopped, Usage
from core_app import clock, jsontext
from core_app.database import write_transaction
from events_app import log
from events_app.lease import Fence
from events_app.types import Event
from sessions_app.events import MessageEnd, Steering, ToolCalls
from sessions_app.legs.start import LegStart
from sessions_app.models import AgentSession, Run, RunState, SteeringNote
from sessions_app.services.messages import message_add
from sessions_app.services.run_end import run_complete, run_fail, run_stop, state_after
from tenants_app.models import LedgerEntry
from tenants_app.services.ledger import ledger_record
from tools_app import calls

Result = TypeVar("Result")

BESIDE = 1_000_000
"""The ledger counts a run's responses from 1, at most `maxTurns`, and what was asked beside them from here."""


def fenced(fence: Fence, work: Callable[[], Result]) -> Result:
    """`work` in a write transaction with the stream locked and the lease alive; else LeaseLost."""
    with write_transaction():
        log.lock(fence.stream_id)
        log.fence_check(fence)
        return work()


def turn_checkpoint(start: LegStart, turn: ModelTurn) -> tuple[PlannedCall, ...]:
    """Commits one model response: its message, its planned calls, its spend and its events, together."""
    return fenced(start.fence, lambda: _checkpoint(start, turn))


def _checkpoint(start: LegStart, turn: ModelTurn) -> tuple[PlannedCall, ...]:
    run = Run.objects.get(pk=start.run.pk)
    text = jsontext.clean_text(turn.text)
    planned: tuple[PlannedCall, ...] = ()
    if turn.calls:
        planned = calls.calls_plan(
            tenant_id=run.tenant_id,
            stream_id=start.fence.stream_id,
            run_id=run.pk,
            message_id=turn.message_id,
            requests=turn.calls,
        )
    message_add(
        session_id=start.session.pk,
        run_id=run.pk,
        message_id=turn.message_id,
        role="assistant",
        content=text,
        calls=_calls_text(planned),
        payload=turn.payload.decode(),
    )
    _spend(start, run, turn)
    if turn.kept_from is not None:
        AgentSession.objects.filter(pk=start.session.pk).update(kept_from=turn.kept_from, kept_for=turn.usage.model)
    events: list[Event] = []
    if text:
        events.append(MessageEnd(message_id=turn.message_id, content=text))
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


def leg_spend(start: LegStart, usage: Usage) -> None:
    """Commits what a request cost that is no response of the conversation."""
    fenced(start.fence, lambda: _spend_beside(start, usage))


def _spend_beside(start: LegStart, usage: Usage) -> None:
    run = Run.objects.get(pk=start.run.pk)
    before = LedgerEntry.objects.filter(run_id=run.pk, response_no__gte=BESIDE).count()
    counts = _charged(start, run, usage, BESIDE + before)
    Run.objects.filter(pk=run.pk).update(**counts)
    AgentSession.objects.filter(pk=start.session.pk).update(**counts)


def _spend(start: LegStart, run: Run, turn: ModelTurn) -> None:
    counts = {"turns": F("turns") + 1, **_charged(start, run, turn.usage, run.turns + 1)}
    Run.objects.filter(pk=run.pk).update(stalled=0, **counts)
    AgentSession.objects.filter(pk=start.session.pk).update(
        tool_calls=F("tool_calls") + len(turn.calls), updated_at=clock.now(), **counts
    )


def _charged(start: LegStart, run: Run, usage: Usage, response_no: int) -> dict[str, Any]:
    """Writes the spend into the ledger; how it changes the sums of the run and of the session."""
    ledger_record(
        tenant_id=run.tenant_id,
        api_key_id=run.api_key_id,
        session_ref=start.session.public_id,
        run_id=run.pk,
        response_no=response_no,
        model=usage.model,
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cost_usd=usage.cost_usd,
        end_user=run.end_user,
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


def steering_deliver(start: LegStart) -> tuple[str, ...]:
    """The run's texts that were not delivered yet: stored as user messages and announced, once."""
    if not SteeringNote.objects.filter(run_id=start.run.pk, delivered_at__isnull=True).exists():
        return ()
    return fenced(start.fence, lambda: _deliver(start))


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


def leg_end(start: LegStart, outcome: LegOutcome) -> None:
    """Commits how the leg ended: the run is over, waits, or goes on because something joined it meanwhile."""
    fenced(start.fence, lambda: _end(start, outcome))


def leg_time_out(start: LegStart, seconds: int) -> None:
    """Ends a run that took longer than it may."""
    message = f"The run took longer than {seconds} s (GATEWAY_MAX_RUN_SECONDS)."

    def work() -> None:
        session, run = _fresh(start)
        run_stop(session=session, run=run, reason="timeout", message=message, fence=start.fence)

    fenced(start.fence, work)


def _fresh(start: LegStart) -> tuple[AgentSession, Run]:
    return AgentSession.objects.get(pk=start.session.pk), Run.objects.get(pk=start.run.pk)


def _end(start: LegStart, outcome: LegOutcome) -> None:
    session, run = _fresh(start)
    if isinstance(outcome, Finished):
        if SteeringNote.objects.filter(run_id=run.pk, delivered_at__isnull=True).exists():
            _pause(session, run, RunState.READY)
        else:
            run_complete(session=session, run=run, content=outcome.content, fence=start.fence)
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
        _pause(session, run, RunState.WAITING if calls.run_blocked(run.pk) else RunState.READY)


def _pause(session: AgentSession, run: Run, state: RunState) -> None:
    run.state = state
    if run.leg_started_at is not None:
        run.active_ms += int((clock.now() - run.leg_started_at).total_seconds() * 1000)
    run.leg_started_at = None
    run.save(update_fields=["state", "active_ms", "leg_started_at"])
    session.state = state_after(session)
    session.updated_at = clock.now()
    session.save(update_fields=["state", "updated_at"])
