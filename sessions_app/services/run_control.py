"""Control of runs by clients: abort, steer, and switch of the session's model or agent."""

from __future__ import annotations

from agents_app import registry as agents
from core_app import clock, jsontext
from core_app.database import write_transaction
from core_app.errors import Conflict
from events_app import log
from sessions_app.events import ModelSwitched, SessionUpdated
from sessions_app.models import UNFINISHED, AgentSession, Run
from sessions_app.selectors import run_active, run_current, run_get
from sessions_app.services.run_end import run_stop
from sessions_app.services.session import session_lock
from sessions_app.services.steering import steering_add, text_check
from tenants_app.principal import Principal


def run_abort(*, principal: Principal, public_id: str, run_id: str | None = None, reason: str | None = None) -> Run:
    """Ends a run with `agent_abort`, immediately and in whichever process its leg runs.

    Without `run_id` it ends the current run, started or queued. Raises Conflict when there is none or it has ended.
    """
    with write_transaction():
        session = session_lock(principal, public_id)
        run = run_get(session, run_id) if run_id is not None else run_current(session.pk)
        if run is None:
            raise Conflict("Nothing runs in this session.")
        if run.state not in UNFINISHED:
            raise Conflict(f"The run {run.pk!r} has already ended.")
        run_stop(session=session, run=run, reason="aborted", message=reason or "Aborted by the client.")
    return run


def run_steer(*, principal: Principal, public_id: str, text: str) -> Run:
    """Adds a text to the current run for its next model request. Raises Conflict (idle), QueueFull, Unprocessable."""
    text_check(principal, public_id, text)
    with write_transaction():
        session = session_lock(principal, public_id)
        run = run_current(session.pk)
        if run is None:
            raise Conflict("Nothing runs in this session that could be steered.")
        steering_add(run, text)
    return run


def model_switch(*, principal: Principal, public_id: str, model: str) -> AgentSession:
    """Switches the session to another model from its next leg on (`model_switched`). Raises Unprocessable."""
    resolved = agents.model_resolve(model, principal=principal)
    with write_transaction():
        session = session_lock(principal, public_id)
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


def agent_switch(*, principal: Principal, public_id: str, agent_id: str, reason: str | None = None) -> AgentSession:
    """Switches the session to another configured agent from its next leg on (`session_updated` with `agent`). Raises
    Unprocessable."""
    resolved = agents.agent_resolve(agent_id, principal=principal)
    entry = agents.agent_get(agent_id, tenant=principal)
    with write_transaction():
        session = session_lock(principal, public_id)
        session.agent, session.model, session.engine = agent_id, resolved.name, resolved.engine
        session.system_prompt = entry.system_prompt
        session.builtins = jsontext.encode_text(sorted(entry.tools))
        session.updated_at = clock.now()
        session.save(update_fields=["agent", "model", "engine", "system_prompt", "builtins", "updated_at"])
        changed = {"agent": agent_id, "model": resolved.name, "reason": reason}
        log.append(session.stream_id, [SessionUpdated(changed=changed)])
    return session
