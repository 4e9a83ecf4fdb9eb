"""Forks: new sessions that start with the history of another one up to a message."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from core_app.database import write_transaction
from core_app.errors import Conflict
from core_app.ids import new_id
from events_app import log
from sessions_app.models import AgentSession
from sessions_app.services.erasure_mark import session_hold
from sessions_app.services.history import fork_number, messages_copy
from sessions_app.services.session import session_lock
from sessions_app.services.tenant_limits import session_limit_check
from tenants_app.principal import Principal
from tools_app import registry as tools

_COPIED_COLUMNS = (
    *("tenant_id", "group_id", "engine", "model", "agent", "system_prompt", "max_turns", "max_tokens", "options"),
    *("response_format", "history_policy", "outage_policy", "builtins", "approvals", "user_data", "metadata"),
)


def session_fork(
    *, principal: Principal, public_id: str, message_id: str, fork_id: str | None = None, title: str | None = None
) -> AgentSession:
    """Creates a session with the settings and tools of `public_id` and its history up to `message_id`.

    Closed sessions may be forked, because only the new one is written; sessions that are being erased may not. The
    source is locked for a look only, and attachments are copied as references. Raises NotFound, Conflict,
    QuotaExceeded.
    """
    session_limit_check(principal.tenant_id)
    with write_transaction():
        source = session_lock(principal, public_id, writing=False)
        session_hold(source)
        through = fork_number(source, message_id)
        messages = source.messages.filter(number__lte=through).count()
    # Without the lock from here on: the source's legs and requests would wait for the whole copy.
    try:
        with write_transaction():
            session_hold(source)
            fork = _fork_create(principal, source, fork_id or new_id("ses"), title)
            messages_copy(source=source, target=fork, through=through)
            tools.tools_copy(source_id=source.stream_id, target_id=fork.stream_id)
            fork.refresh_from_db()
            if fork.message_count != messages:
                raise _erased(public_id)
    except IntegrityError:
        # A content that the copy refers to is gone with its last attachment.
        raise _erased(public_id) from None
    return fork


def _erased(public_id: str) -> Conflict:
    return Conflict(f"The session {public_id!r} was erased while it was copied.")


def _fork_create(principal: Principal, source: AgentSession, identity: str, title: str | None) -> AgentSession:
    values = {name: getattr(source, name) for name in _COPIED_COLUMNS}
    stream = log.stream_create(kind="session", parent_id=source.stream.parent_id, tenant_id=principal.tenant_id)
    try:
        with transaction.atomic():
            return AgentSession.objects.create(
                stream=stream,
                public_id=identity,
                api_key_id=principal.key_id,
                title=title if title is not None else source.title,
                **values,
            )
    except IntegrityError:
        raise Conflict(f"The session id {identity!r} is in use.", field="sessionId") from None
