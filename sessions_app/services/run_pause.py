"""The pause of a run between two legs."""

from __future__ import annotations

from core_app import clock
from sessions_app.models import AgentSession, Run, RunState
from sessions_app.services.run_end import session_state


def run_pause(session: AgentSession, run: Run, state: RunState) -> None:
    """Ends the leg of a run that goes on later, in the state `waiting` or `ready`. The caller holds the stream's
    lock."""
    run.state = state
    if run.leg_started_at is not None:
        run.active_ms += clock.elapsed_ms(run.leg_started_at, clock.now())
    run.leg_started_at = None
    run.save(update_fields=["state", "active_ms", "leg_started_at"])
    session.state = session_state(session)
    session.updated_at = clock.now()
    session.save(update_fields=["state", "updated_at"])
