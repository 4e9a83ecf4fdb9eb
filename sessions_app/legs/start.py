"""The start of a leg: the holder of a session's lease chooses the run to continue, under the stream's lock.

The lock is taken in a first statement and the runs are read in a second one. When there is none, the lease is released
in the same transaction. So a prompt that commits before is seen, and one that commits later finds the lease free.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.conf import settings
from django.db import transaction

from core_app import clock
from core_app.database import write_transaction
from core_app.metrics import LEGS_RETRIED, QUEUE_SECONDS
from events_app import log
from events_app.lease import Fence, lease_release
from events_app.types import Event
from sessions_app.events import AgentStart, RunRetried
from sessions_app.models import AgentSession, PromptAttachment, Run, RunState, prompt_message_id
from sessions_app.run_observers import RUN_OBSERVERS
from sessions_app.selectors import run_active, run_next
from sessions_app.services.messages import message_add
from sessions_app.services.run_end import run_fail, session_state
from sessions_app.wakeup import WAKEUPS, SessionKey


@dataclass(frozen=True, slots=True)
class LegStart:
    """A leg that has been started: its session, its run and the fence for its writes."""

    session: AgentSession
    run: Run
    fence: Fence


def leg_start(*, session_id: int, fence: Fence) -> LegStart | None:
    """Starts the next leg of the session. Returns None, with the lease released, when there is none.

    Raises LeaseLost when the lease is no longer held.
    """
    with write_transaction():
        log.lock_fenced(fence)
        session = AgentSession.objects.select_related("tenant").get(pk=session_id)
        run = _next_run(session, fence)
        if run is None:
            lease_release(fence=fence)
            return None
        log.append(fence.stream_id, _start(session, run), run_id=run.pk, fence=fence)
    return LegStart(session, run, fence)


def lease_release_if_idle(start: LegStart) -> bool:
    """Releases the lease if the session has no leg to go on with, in the transaction that ended the last one: as by
    `leg_start`, a prompt that commits before is seen, and one that commits later finds the lease free."""
    run = run_active(start.session.pk) or run_next(start.session.pk)
    if run is not None and run.state != RunState.WAITING:
        return False
    lease_release(fence=start.fence)
    return True


def leg_start_count(*, session_id: int, fence: Fence) -> bool:
    """Counts a start that failed, in a transaction of its own, since that of the start is rolled back.

    Returns True when the run has to end (`leg_start_fail`); otherwise the lease is released, and the sweep wakes the
    session again.
    """
    with write_transaction():
        log.lock_fenced(fence)
        run = run_active(session_id) or run_next(session_id)
        if run is not None and run.state != RunState.WAITING:
            run.stalled += 1
            Run.objects.filter(pk=run.pk).update(stalled=run.stalled)
            if run.stalled >= settings.GATEWAY_MAX_ATTEMPTS:
                return True
        lease_release(fence=fence)
        return False


def leg_start_fail(*, session_id: int, fence: Fence) -> None:
    """Ends a run whose start failed GATEWAY_MAX_ATTEMPTS times, and releases the lease."""
    with write_transaction():
        log.lock_fenced(fence)
        session = AgentSession.objects.select_related("tenant").get(pk=session_id)
        run = run_active(session_id) or run_next(session_id)
        if run is not None and run.state != RunState.WAITING and run.stalled >= settings.GATEWAY_MAX_ATTEMPTS:
            run_fail(
                session=session,
                run=run,
                code="attempts_exhausted",
                reason=f"The run could not be started {run.stalled} times (GATEWAY_MAX_ATTEMPTS); the log says why.",
                retryable=True,
                fence=fence,
            )
        lease_release(fence=fence)
        WAKEUPS.announce(SessionKey(session.pk, session.tenant_id))


def leg_hand_over(*, fence: Fence, run_id: str | None) -> None:
    """Releases the lease of a leg that was cancelled halfway. The attempt does not count as a failure of the run."""
    with write_transaction():
        log.lock(fence.stream_id)
        run = Run.objects.filter(pk=run_id, state=RunState.RUNNING).first()
        if lease_release(fence=fence) and run is not None:
            run.stalled = max(0, run.stalled - 1)
            if run.leg_started_at is not None:
                run.active_ms += clock.elapsed_ms(run.leg_started_at, clock.now())
                run.leg_started_at = None
            run.save(update_fields=["stalled", "active_ms", "leg_started_at"])


def _next_run(session: AgentSession, fence: Fence) -> Run | None:
    """Returns the run to continue. Ends runs that were interrupted too often, one after the other."""
    while True:
        run = run_active(session.pk)
        if run is None:
            run = run_next(session.pk)
        if run is None or run.state == RunState.WAITING:
            return None
        if run.state != RunState.RUNNING or run.stalled < settings.GATEWAY_MAX_ATTEMPTS:
            return run
        run_fail(
            session=session,
            run=run,
            code="attempts_exhausted",
            reason=f"The run was interrupted {run.stalled} times without progress (GATEWAY_MAX_ATTEMPTS).",
            retryable=True,
            fence=fence,
        )


def _start(session: AgentSession, run: Run) -> list[Event]:
    moment = clock.now()
    events: list[Event] = []
    if run.state == RunState.QUEUED:
        run.started_at = moment
        message = message_add(
            session_id=session.pk, run_id=run.pk, role="user", content=run.text, message_id=prompt_message_id(run.pk)
        )
        PromptAttachment.objects.filter(run=run).update(message=message)
        RUN_OBSERVERS.notify_started(session, run)
        events.append(AgentStart(model=session.model))
    elif run.state == RunState.RUNNING:
        _charge_lost_time(run)
        transaction.on_commit(LEGS_RETRIED.inc)
        events.append(RunRetried(attempt=run.attempt + 1, reason="interrupted"))
    if run.state != RunState.RUNNING:
        waited = (moment - _ready_since(session, run)).total_seconds()
        run.resume_at = None
        transaction.on_commit(lambda: QUEUE_SECONDS.observe(max(0.0, waited)))
        run.leg += 1
        run.stalled = 0
    run.state, run.leg_started_at = RunState.RUNNING, moment
    run.attempt += 1
    run.stalled += 1
    run.save(
        update_fields=["state", "started_at", "leg_started_at", "leg", "attempt", "stalled", "active_ms", "resume_at"],
    )
    session.state = session_state(session)
    session.save(update_fields=["state"])
    return events


def _ready_since(session: AgentSession, run: Run) -> datetime:
    """Returns the time since which the run has waited only for a free slot: that of its prompt, of the end of the run
    before it, of the last settled call, or of the end of its pause."""
    if run.resume_at is not None:
        return run.resume_at
    if run.state == RunState.READY:
        return session.updated_at
    before = Run.objects.filter(session=session, number=run.number - 1).values_list("ended_at", flat=True)
    ended_at = before.first() if run.number > 1 else None
    return max(run.created_at, ended_at or run.created_at)


def _charge_lost_time(run: Run) -> None:
    """Adds the time of an interrupted leg to the run, at most the duration of a lease: its end is not known."""
    if run.leg_started_at is not None:
        elapsed = clock.elapsed_ms(run.leg_started_at, clock.now())
        run.active_ms += min(elapsed, int(settings.GATEWAY_LEASE_SECONDS * 1000))
