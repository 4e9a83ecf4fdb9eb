"""Conversations of clients that name a session and expect it to be there: it is created with the first prompt."""

from __future__ import annotations

import re

from agents_app import registry as agents
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict, SessionNotFound
from sessions_app.models import AgentSession
from sessions_app.selectors import session_get
from sessions_app.services.session import SessionRequest, session_create
from tenants_app.principal import Principal

SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")


def session_ensure(
    *,
    principal: Principal,
    public_id: str | None,
    model: str | None = None,
    agent: str | None = None,
    client_id: str | None = None,
) -> AgentSession:
    """Returns the tenant's session of that id, or creates it; an id of None always creates one.

    Without `model` and `agent` the tenant's default agent, its default model or the gateway's default model is taken.
    `client_id` is remembered as the session's creator. Raises BadRequest for an id of another form, and what
    `session_create` raises.
    """
    if public_id is not None:
        if not SESSION_ID.match(public_id):
            raise BadRequest("A session id has 1 to 64 letters, digits, '-' and '_'.", field="session_id")
        try:
            return session_get(principal, public_id)
        except SessionNotFound:
            pass
    if model is None and agent is None:
        model, agent = default_target(principal)
    metadata = {} if client_id is None else {"client_id": client_id}
    request = SessionRequest(model=model, agent=agent, public_id=public_id, metadata=metadata)
    try:
        with write_transaction():
            return session_create(principal=principal, request=request)
    except Conflict:
        if public_id is None:
            raise
        return session_get(principal, public_id)  # another request has created it meanwhile


def default_target(principal: Principal) -> tuple[str | None, str | None]:
    """Returns the model and the agent (one of them None) for sessions of this caller that name neither."""
    if principal.default_agent is not None:
        return None, principal.default_agent
    return principal.default_model or agents.default_model(), None
