"""The end of runs. This is the only module that writes terminal events.

The caller holds the stream's lock. A leg that ends its own run writes with its fence. An abort from outside revokes the
lease instead: from that commit on, every write of the leg is refused, in whichever process it runs, and it makes no
difference whether the leg is alive.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db import transaction

from core_app import clock, jsontext
from core_app.metrics import RUNS_ENDED
from events_app import log
from events_app.lease import Fence, lease_revoke
from events_app.types import Event
from sessions_app.events import AgentAbort, AgentEnd, ErrorEvent, SteeringUndelivered
from sessions_app.models import AgentSession, Run, RunState, SessionState, SteeringNote
from sessions_app.run_observers import RUN_OBSERVERS
from sessions_app.selectors import runs_unfinished
from sessions_app.services.messages import tool_result_store
from sessions_app.services.spans import run_span_report
from sessions_app.wakeup import WAKEUPS, SessionKey
from tenants_app.models import LedgerEntry
from tools_app import calls


def run_complete(*, session: AgentSession, run: Run, content: str, fence: Fence) -> None:
    """Ends a run with its answer (`agent_end`)."""
    content = jsontext.clean_text(content)
    run.state, run.last_message = RunState.COMPLETED, content
    moment = clock.now()
    _charge_time(run, moment)
    end = AgentEnd(
        last_message={"role": "assistant", "content": content},
        token_usage=token_usage(run),
        cost_usd=float(run.cost_usd),
        cost_known=run.cost_known,
        duration_ms=clock.elapsed_ms(run.created_at, moment),
    )
    _end(session, run, [end], moment, fence)


def run_fail(*, session: AgentSession, run: Run, code: str, reason: str, retryable: bool, fence: Fence) -> None:
    """Ends a run with an `error` event and `agent_abort` with reason `error`."""
    reason = jsontext.clean_text(reason)
    run.state, run.end_reason, run.error_code, run.error_reason = RunState.FAILED, "error", code, reason
    moment = clock.now()
    _charge_time(run, moment)
    events = [ErrorEvent(code=code, reason=reason, retryable=retryable), AgentAbort(reason="error", message=reason)]
    _end(session, run, events, moment, fence)


def run_stop(*, session: AgentSession, run: Run, reason: str, message: str, fence: Fence | None = None) -> None:
    """Ends a run before its answer (`agent_abort`). Without a fence, the lease of its leg is revoked."""
    if fence is None and run.state == RunState.RUNNING:
        lease_revoke(stream_id=session.stream_id)
    run.state, run.end_reason = RunState.ABORTED, reason
    moment = clock.now()
    _charge_time(run, moment)
    _end(session, run, [AgentAbort(reason=reason, message=message)], moment, fence)  # type: ignore[arg-type]


def token_usage(run: Run | AgentSession | LedgerEntry) -> dict[str, int]:
    """Returns the `tokenUsage` of a run, a session or a model response (docs/protocol-native.md)."""
    return {
        "promptTokens": run.input_tokens,
        "completionTokens": run.output_tokens,
        "totalTokens": run.input_tokens + run.output_tokens,
        "cachedTokens": run.cached_tokens,
        "reasoningTokens": run.reasoning_tokens,
    }


def session_state(session: AgentSession) -> SessionState:
    """Returns the session's state as it follows from its unfinished runs."""
    if session.closed_at is not None:
        return SessionState.CLOSED
    states = set(runs_unfinished(session.pk).values_list("state", flat=True))
    if RunState.WAITING in states:
        run = runs_unfinished(session.pk).get(state=RunState.WAITING)
        return SessionState(calls.waiting_kind(run.pk) or SessionState.WORKING)
    return SessionState.WORKING if states else SessionState.IDLE


def _undelivered(run: Run) -> list[Event]:
    """Returns an event for each accepted text that no model request will have."""
    texts = SteeringNote.objects.filter(run_id=run.pk, delivered_at__isnull=True).order_by("pk")
    return [SteeringUndelivered(text=text) for text in texts.values_list("text", flat=True)]


def _charge_time(run: Run, moment: datetime) -> None:
    if run.leg_started_at is not None:
        run.active_ms += clock.elapsed_ms(run.leg_started_at, moment)
        run.leg_started_at = None


def _end(session: AgentSession, run: Run, events: Sequence[Event], moment: datetime, fence: Fence | None) -> None:
    calls.calls_cancel(
        stream_id=session.stream_id, run_id=run.pk, reason="The run has ended.", on_settled=tool_result_store
    )
    stored = log.append(session.stream_id, [*_undelivered(run), *events], run_id=run.pk, fence=fence)
    run.ended_at, run.last_offset, run.resume_at = moment, stored[-1].offset, None
    run.duration_ms = clock.elapsed_ms(run.created_at, moment)
    run.save(
        update_fields=[
            *("state", "last_message", "end_reason", "error_code", "error_reason", "active_ms"),
            *("leg_started_at", "ended_at", "last_offset", "resume_at", "duration_ms"),
        ]
    )
    session.state = session_state(session)
    session.updated_at = moment
    session.save(update_fields=["state", "updated_at"])
    transaction.on_commit(RUNS_ENDED.labels(run.state).inc)
    run_span_report(session, run)
    RUN_OBSERVERS.notify_ended(session, run)
    if fence is None:
        # A leg that ends its own run starts the next one itself.
        WAKEUPS.announce(SessionKey(session.pk, session.tenant_id))
