"""Creation, change and closing of sessions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import IntegrityError, transaction

from agents_app import registry as agents
from agents_app.options import provider_options_check
from core_app import clock, jsontext
from core_app.database import write_transaction
from core_app.errors import BadRequest, Conflict
from core_app.ids import new_id
from events_app import log
from sessions_app.events import SessionClosed, SessionUpdated
from sessions_app.models import AgentSession, SessionGroup, SessionState
from sessions_app.selectors import runs_unfinished, session_get, session_not_found
from sessions_app.services.groups import group_lock
from sessions_app.services.history import ImportedMessage, messages_import
from sessions_app.services.run_end import run_stop
from sessions_app.services.tenant_limits import session_limit_check
from tenants_app.principal import Principal
from tools_app import registry as tools
from tools_app.outside_calls import outside_calls_cancel
from tools_app.schema import schema_check


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """A request to create a session, whose types and bounds have been checked (docs/protocol-native.md)."""

    model: str | None = None
    agent: str | None = None
    public_id: str | None = None
    system_prompt: str = ""
    max_turns: int = 100
    max_tokens: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    tools: Sequence[str | Mapping[str, Any]] = ()
    user_data: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    group_id: str | None = None
    title: str | None = None
    response_format: Mapping[str, Any] | None = None
    history_policy: str = "truncate"
    outage_policy: str = "wait"
    approvals: Mapping[str, str] = field(default_factory=dict)
    messages: Sequence[ImportedMessage] = ()


def session_create(*, principal: Principal, request: SessionRequest) -> AgentSession:
    """Creates a session. Raises Unprocessable for a model or agent that cannot be served, Conflict for an id in use."""
    if request.model is None and request.agent is None:
        raise BadRequest("A session needs a 'model' or an 'agent'.", field="model")
    agent = agents.agent_get(request.agent, tenant=principal) if request.agent is not None else None
    resolved = _resolve_model(principal, request)
    options = provider_options_check(resolved.engine, request.options)
    if request.response_format is not None:
        schema_check(dict(request.response_format), field="responseFormat")
    names = [tool for tool in request.tools if isinstance(tool, str)]
    tools.builtins_check(names, principal.tenant_id)
    values = {
        "tenant_id": principal.tenant_id,
        "api_key_id": principal.key_id,
        "public_id": request.public_id or new_id("ses"),
        "engine": resolved.engine,
        "model": resolved.name,
        "agent": request.agent,
        "title": request.title,
        "system_prompt": request.system_prompt or (agent.system_prompt if agent else ""),
        "max_turns": request.max_turns,
        "max_tokens": request.max_tokens,
        "options": jsontext.encode_text(options),
        "response_format": jsontext.encode_text(request.response_format) if request.response_format else None,
        "history_policy": request.history_policy,
        "outage_policy": request.outage_policy,
        "builtins": jsontext.encode_text(sorted({*names, *(agent.tools if agent else ())})),
        "approvals": jsontext.encode_text(request.approvals),
        "user_data": jsontext.encode_text(request.user_data),
        "metadata": jsontext.encode_text(request.metadata),
    }
    session_limit_check(principal.tenant_id)
    inline = [tool for tool in request.tools if not isinstance(tool, str)]
    with write_transaction():
        session = _insert(values, _group_get(principal, request.group_id))
        for registration in inline:
            tools.tool_attach(tenant_id=principal.tenant_id, stream_id=session.stream_id, registration=registration)
        messages_import(session=session, messages=request.messages)
    return session


def _resolve_model(principal: Principal, request: SessionRequest) -> agents.ResolvedModel:
    if request.model is not None:
        return agents.model_resolve(request.model, principal=principal)
    assert request.agent is not None
    return agents.agent_resolve(request.agent, principal=principal)


def _insert(values: dict[str, Any], group: SessionGroup | None) -> AgentSession:
    parent_id = group.stream_id if group else None
    stream = log.stream_create(kind="session", parent_id=parent_id, tenant_id=values["tenant_id"])
    try:
        with transaction.atomic():
            return AgentSession.objects.create(stream=stream, group=group, **values)
    except IntegrityError:
        raise Conflict(f"The session id {values['public_id']!r} is in use.", field="sessionId") from None


def _group_get(principal: Principal, public_id: str | None) -> SessionGroup | None:
    if public_id is None:
        return None
    found = SessionGroup.objects.filter(tenant_id=principal.tenant_id, public_id=public_id).first()
    if found is not None and group_lock(found.pk):
        return found
    try:
        with transaction.atomic():
            return SessionGroup.objects.create(
                tenant_id=principal.tenant_id, public_id=public_id, stream=log.stream_create(kind="group")
            )
    except IntegrityError:
        return SessionGroup.objects.get(tenant_id=principal.tenant_id, public_id=public_id)


def session_lock(principal: Principal, public_id: str, *, writing: bool = True) -> AgentSession:
    """Locks the session's stream and returns the session as it is then.

    Call it first in a write transaction. Raises SessionNotFound, also when the session is erased before the lock is
    acquired, and Conflict when `writing` and the session is closed.
    """
    session = session_get(principal, public_id)
    try:
        log.lock(session.stream_id)
        session.refresh_from_db()
    except ObjectDoesNotExist:
        raise session_not_found(public_id) from None
    if writing and session.closed_at is not None:
        raise Conflict("The session is closed.")
    return session


def session_change(*, principal: Principal, public_id: str, changes: Mapping[str, Any]) -> AgentSession:
    """Changes those of `system_prompt`, `user_data`, `group_id`, `title`, `tools` and `outage_policy` that `changes`
    has."""
    with write_transaction():
        session = session_lock(principal, public_id)
        changed = _apply(principal, session, changes)
        session.updated_at = clock.now()
        fields = ["system_prompt", "user_data", "title", "builtins", "group", "outage_policy", "updated_at"]
        session.save(update_fields=fields)
        if changed:
            log.append(session.stream_id, [SessionUpdated(changed=changed)])
    return session


def _apply(principal: Principal, session: AgentSession, changes: Mapping[str, Any]) -> dict[str, Any]:
    changed: dict[str, Any] = {}
    if "system_prompt" in changes:
        session.system_prompt = changed["systemPrompt"] = changes["system_prompt"]
    if "title" in changes:
        session.title = changed["title"] = changes["title"]
    if "outage_policy" in changes:
        session.outage_policy = changed["outagePolicy"] = changes["outage_policy"]
    if "user_data" in changes:
        changed["userData"] = changes["user_data"]
        session.user_data = jsontext.encode_text(changes["user_data"])
    if "tools" in changes:
        tools.builtins_check(changes["tools"], principal.tenant_id)
        changed["tools"] = changes["tools"]
        session.builtins = jsontext.encode_text(sorted(set(changes["tools"])))
    if "group_id" in changes:
        _group_set(session, _group_get(principal, changes["group_id"]))
        changed["groupId"] = changes["group_id"]
    return changed


def _group_set(session: AgentSession, group: SessionGroup | None) -> None:
    """Moves the session to a group, or out of one. Raises Conflict while its runs are counted in a stream of another
    kind, such as that of a task's tenant, whose followers would see no more of them."""
    former = session.group.stream_id if session.group else None
    following = group.stream_id if group else None
    if former != following:
        session.stream.refresh_from_db(fields=["parent"])
        foreign = session.stream.parent_id not in (None, former)
        if foreign and runs_unfinished(session.pk).exists():
            raise Conflict("The session works on a task that streams; it can be moved when the task has ended.")
        log.stream_parent_set(session.stream_id, following)
    session.group = group


def session_close(*, principal: Principal, public_id: str) -> None:
    """Ends all unfinished runs with the reason `deleted`, and closes the session. Does nothing if it is closed."""
    with write_transaction():
        session = session_lock(principal, public_id, writing=False)
        if session.closed_at is not None:
            return
        session.closed_at = clock.now()
        session.save(update_fields=["closed_at"])
        for run in runs_unfinished(session.pk).order_by("number"):
            run_stop(session=session, run=run, reason="deleted", message="The session was deleted.")
        outside_calls_cancel(stream_id=session.stream_id, reason="The session was deleted.")
        session.state = SessionState.CLOSED
        session.save(update_fields=["state"])
        log.append(session.stream_id, [SessionClosed()])
