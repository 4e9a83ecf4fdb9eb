"""Conversations: `chat.send`, `chat.history`, `chat.abort` and `chat.sessions.*`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app import database
from core_app.errors import BadRequest, SessionNotFound
from core_app.shares import Claim
from edge_app.rpc import Method
from faces.agentbus.caller import Caller
from faces.agentbus.parameters import Parameters, SessionParameters, parser
from faces.agentbus.positions import FollowFrom, follow_from
from faces.agentbus.shapes import message_to_wire, session_summary, sessions_newest
from sessions_app.models import prompt_message_id
from sessions_app.selectors import messages_newest, run_session, session_counts, session_get
from sessions_app.services.conversation import session_ensure
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.run_control import run_abort
from sessions_app.services.session import session_close
from tenants_app.principal import SESSIONS, SESSIONS_READ, Principal

MAX_MESSAGE = 1024 * 1024
MAX_HISTORY = 1000


class SendParameters(Parameters):
    """The parameters of `chat.send`. `model` and `agent` count when the session is new."""

    session_id: str
    message: str
    type: str | None = None
    model: str | None = None
    agent: str | None = None
    queue: bool = False


class HistoryParameters(Parameters):
    """The parameters of `chat.history`."""

    session_id: str
    limit: int = 100


class AbortParameters(Parameters):
    """The parameters of `chat.abort`."""

    run_id: str


class ListParameters(Parameters):
    """The parameters of lists."""

    limit: int = 100


class CreateParameters(Parameters):
    """The parameters of `chat.sessions.create`."""

    session_id: str | None = None
    model: str | None = None
    agent: str | None = None


async def _send(caller: Caller, wanted: SendParameters) -> Mapping[str, Any]:
    """Sends a prompt; the connection then sees the session's conversation from the prompt on."""
    principal = caller.principal
    claim = Claim(principal.tenant_id, wanted.session_id)
    receipt, start = await database.run_action(claim, send, principal, wanted, caller.connection.client_id)
    await caller.connection.sessions.follow(start, conversation=True)
    return receipt


def send(principal: Principal, wanted: SendParameters, client_id: str | None) -> tuple[dict[str, Any], FollowFrom]:
    """Accepts a prompt, and creates its session where it is new. Returns the receipt, and the position before the
    prompt's first event. Raises Conflict while a run is under way, unless `queue` is set."""
    if not wanted.message.strip():
        raise BadRequest("'message' is required, and is text.", field="message")
    if len(wanted.message) > MAX_MESSAGE:
        raise BadRequest(f"'message' has at most {MAX_MESSAGE} characters.", field="message")
    session = session_ensure(
        principal=principal,
        public_id=wanted.session_id,
        model=wanted.model,
        agent=wanted.agent,
        client_id=client_id,
    )
    start = follow_from(session, None)
    prompt = Prompt(text=wanted.message, when_busy="enqueue" if wanted.queue else "reject")
    run_id = prompt_accept(principal=principal, public_id=session.public_id, prompt=prompt).run_pk
    return {"run_id": run_id, "status": "started", "message_id": prompt_message_id(run_id)}, start


def history(principal: Principal, wanted: HistoryParameters) -> dict[str, Any]:
    """Returns the newest messages, the oldest of them first; none of a session that does not exist."""
    if not 1 <= wanted.limit <= MAX_HISTORY:
        raise BadRequest(f"'limit' is between 1 and {MAX_HISTORY}.", field="limit")
    try:
        session = session_get(principal, wanted.session_id)
    except SessionNotFound:
        return {"session_id": wanted.session_id, "messages": [], "total": 0}
    messages = [message_to_wire(message) for message in messages_newest(session, limit=wanted.limit)]
    return {"session_id": session.public_id, "messages": messages, "total": session.message_count}


def _history(caller: Caller, wanted: HistoryParameters) -> Mapping[str, Any]:
    return history(caller.principal, wanted)


def _abort(caller: Caller, wanted: AbortParameters) -> Mapping[str, Any]:
    session = run_session(caller.principal, wanted.run_id)
    run_abort(principal=caller.principal, public_id=session.public_id, run_id=wanted.run_id)
    return {"run_id": wanted.run_id, "status": "aborted"}


def _list(caller: Caller, wanted: ListParameters) -> Mapping[str, Any]:
    sessions, active_runs = session_counts(caller.principal.tenant_id)
    found = sessions_newest(caller.principal, wanted.limit)
    return {
        "total_sessions": sessions,
        "active_runs": active_runs,
        "sessions": [session_summary(session) for session in found],
    }


def _create(caller: Caller, wanted: CreateParameters) -> Mapping[str, Any]:
    session = session_ensure(
        principal=caller.principal,
        public_id=wanted.session_id,
        model=wanted.model,
        agent=wanted.agent,
        client_id=caller.connection.client_id,
    )
    return {"session_id": session.public_id, "created_at": session.created_at.timestamp()}


def _delete(caller: Caller, wanted: SessionParameters) -> Mapping[str, Any]:
    session_close(principal=caller.principal, public_id=wanted.session_id)
    return {"session_id": wanted.session_id, "status": "deleted"}


METHODS: Mapping[str, Method[Caller]] = {
    "chat.send": Method.on_loop(parser(SendParameters), _send, scope=SESSIONS, counted=True, shape=SendParameters),
    "chat.history": Method.on_database(
        parser(HistoryParameters), _history, scope=SESSIONS_READ, counted=True, shape=HistoryParameters
    ),
    "chat.abort": Method.on_database(parser(AbortParameters), _abort, scope=SESSIONS, shape=AbortParameters),
    "chat.sessions.list": Method.on_database(
        parser(ListParameters), _list, scope=SESSIONS_READ, counted=True, shape=ListParameters
    ),
    "chat.sessions.create": Method.on_database(
        parser(CreateParameters), _create, scope=SESSIONS, counted=True, shape=CreateParameters
    ),
    "chat.sessions.delete": Method.on_database(
        parser(SessionParameters), _delete, scope=SESSIONS, counted=True, shape=SessionParameters
    ),
}
