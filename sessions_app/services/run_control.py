"""What people do to a run that is under way: abort it, steer it, switch its model."""

from __future__ import annotations

from agents_app import registry as agents
from core_app import clock
from core_app.database import write_transaction
from core_app.errors import Conflict
from events_app import log
from sessions_app.events import ModelSwitched
from sessions_app.models import UNFINISHED, AgentSession, Run
from sessions_app.selectors import run_active, run_get, run_present
from sessions_app.services.run_end import run_stop
from sessions_app.services.session import session_locked
from sessions_app.services.steering import steering_add, text_guard
from tenants_app.principal import Principal


def run_abort(*, principal: Principal, public_id: str, run_id: str | None = None, reason: str | None = None) -> Run:
    """Ends a run with `agent_abort`, at once and wherever its leg is; a queued one is withdrawn.

    Without `run_id` the present run is meant, begun or not. Raises Conflict when nothing runs or the run has ended.
    """
    with write_transaction():
        session = session_locked(principal, public_id)
        run = run_get(session, run_id) if run_id is not None else run_present(session.pk)
        if run is None:
            raise Conflict("Nothing runs in this session.")
        if run.state not in UNFINISHED:
            raise Conflict(f"The run {run.pk!r} has already ended.")
        run_stop(session=session, run=run, reason="aborted", message=reason or "Aborted by the client.")
    return run


def run_steer(*, principal: Principal, public_id: str, text: str) -> Run:
    """Gives the present run a text for its next model call. Raises Conflict (idle), QueueFull, Unprocessable."""
    text_guard(principal, public_id, text)
    with write_transaction():
        session = session_locked(principal, public_id)
        run = run_present(session.pk)
        if run is None:
            raise Conflict("Nothing runs in this session that could be steered.")
        steering_add(run, text)
    return run


def model_switch(*, principal: Principal, public_id: str, model: str) -> AgentSession:
    """Gives the session another model from its next leg on (`model_switched`). Raises Unprocessable."""
    resolved = agents.model_resolve(model, principal=principal)
    with write_transaction():
        session = session_locked(principal, public_id)
        previous, session.model, session.engine = session.model, resolved.name, resolved.engine
        session.updated_at = clock.now()
        session.save(update_fields=["model", "engine", "updated_at"])
        run = run_active(session.pk)
        log.append(
            session.stream_id,
            [ModelSwitched(model=resolved.name, previous=previous)],
            run_id=run.pk if run is not None else None,
        )
    return session
