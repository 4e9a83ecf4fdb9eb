"""Erasing what was said: a session, an end user's part of all sessions, a tenant's sessions.

The ledger and the audit stay, without what would name a session or a person. Everything goes in batches, so that
other tenants' prompts go on meanwhile; an erasure that was cut off is finished by asking for it again.
"""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connection
from django.db.models import Model, Q, QuerySet

from core_app import clock
from core_app.database import write_transaction
from core_app.errors import SessionNotFound
from events_app import log
from events_app.removal import GoOn, stream_empty, stream_remove
from events_app.types import SessionClosed
from events_app.webhooks.removal import run_deliveries_remove
from sessions_app.models import (
    AgentSession,
    Message,
    PromptAttachment,
    Run,
    SessionGroup,
    SessionState,
    SteeringNote,
)
from sessions_app.selectors import runs_unfinished
from sessions_app.services.ending import run_stop
from tenants_app.models import LedgerEntry, Tenant
from tenants_app.services.audit import audit_record
from tools_app.models import SessionTool, ToolCall

BATCH = 1000
ERASED = "[erased]"


def session_erase(*, tenant_id: int, public_id: str, actor: str) -> int:
    """Ends and removes a session with its messages, events and tool calls; how many events went.

    Raises SessionNotFound. The id is free afterwards.
    """
    session = AgentSession.objects.filter(tenant_id=tenant_id, public_id=public_id).first()
    if session is None:
        raise SessionNotFound(f"There is no session {public_id!r}.")
    session_end(session)
    removed = session_remove(session)
    audit_record(tenant_id=tenant_id, actor=actor, action="session.erase", target=public_id, detail={"events": removed})
    return removed


def end_user_erase(*, tenant_id: int, end_user: str, actor: str) -> tuple[int, int]:
    """Erases every session in which only this end user spoke, and this user's runs in the others; how many of each."""
    runs = Run.objects.filter(tenant_id=tenant_id, end_user=end_user)
    sessions = runs_only = 0
    for session in _each(AgentSession.objects.filter(pk__in=runs.values("session_id"))):
        if Run.objects.filter(session=session).exclude(end_user=end_user).exists():
            runs_only += _redact(session, end_user)
        else:
            session_end(session)
            session_remove(session)
            sessions += 1
    _ledger_update(LedgerEntry.objects.filter(tenant_id=tenant_id, end_user=end_user), end_user=None)
    detail = {"sessions": sessions, "runs": runs_only}
    audit_record(tenant_id=tenant_id, actor=actor, action="end_user.erase", target="", detail=detail)
    return sessions, runs_only


def tenant_erase(*, tenant: Tenant, actor: str) -> int:
    """Erases all sessions and groups of a tenant; how many sessions. The tenant itself stays, for its ledger."""
    erased = 0
    for session in _each(AgentSession.objects.filter(tenant=tenant)):
        session_end(session)
        session_remove(session)
        erased += 1
    for group in SessionGroup.objects.filter(tenant=tenant):
        stream_empty(stream_id=group.stream_id)
        with write_transaction():
            group.delete()
            stream_remove(stream_id=group.stream_id)
    audit_record(
        tenant_id=tenant.pk, actor=actor, action="tenant.erase", target=tenant.slug, detail={"sessions": erased}
    )
    return erased


def _each(sessions: QuerySet[AgentSession]) -> Iterator[AgentSession]:
    """One after the other, without a cursor that stays open: SQLite refuses to write beside one once others have."""
    for key in list(sessions.values_list("pk", flat=True)):
        session = AgentSession.objects.filter(pk=key).first()
        if session is not None:
            yield session


def session_end(session: AgentSession, *, where: Q | None = None) -> bool:
    """Ends what runs and tells the followers, who would wait for ever otherwise; no prompt is accepted any more.

    False, and nothing happens, where `where` does not hold (any more).
    """
    with write_transaction():
        log.lock(session.stream_id)
        if where is not None and not AgentSession.objects.filter(where, pk=session.pk).exists():
            return False
        session.refresh_from_db()
        if session.closed_at is not None:
            return True
        session.closed_at = clock.now()
        session.save(update_fields=["closed_at"])
        for run in runs_unfinished(session.pk).order_by("number"):
            run_stop(session=session, run=run, reason="deleted", message="The session was erased.")
        AgentSession.objects.filter(pk=session.pk).update(state=SessionState.CLOSED)
        log.append(session.stream_id, [SessionClosed()])
    return True


def session_remove(session: AgentSession, *, go_on: GoOn = lambda: True) -> int:
    """Removes a session on which nothing runs any more; how many events went. The ledger's rows lose its name.

    The session's own row goes last, so that one whose removal was cut off is still found.
    """
    spent = LedgerEntry.objects.filter(tenant_id=session.tenant_id, session_ref=session.public_id)
    _ledger_update(spent, session_ref="", end_user=None)
    _delete(PromptAttachment.objects.filter(message__session=session))
    _delete(PromptAttachment.objects.filter(run__session=session))
    _delete(SteeringNote.objects.filter(run__session=session))
    _delete(Message.objects.filter(session=session))
    _delete(ToolCall.objects.filter(stream_id=session.stream_id))
    _delete(SessionTool.objects.filter(stream_id=session.stream_id))
    removed = stream_empty(stream_id=session.stream_id, go_on=go_on)
    if go_on():
        _delete(Run.objects.filter(session=session))
        with write_transaction():
            AgentSession.objects.filter(pk=session.pk).delete()
            stream_remove(stream_id=session.stream_id)
    return removed


def _redact(session: AgentSession, end_user: str) -> int:
    """Takes out what one end user said and was told; the conversation keeps its shape."""
    runs = list(Run.objects.filter(session=session, end_user=end_user).values_list("pk", flat=True))
    for run_id in runs:
        with write_transaction():
            log.lock(session.stream_id)
            for run in runs_unfinished(session.pk).filter(pk=run_id):
                run_stop(session=session, run=run, reason="deleted", message="The end user was erased.")
            Run.objects.filter(pk=run_id).update(text=ERASED, last_message=None, metadata="{}", end_user=None)
            Message.objects.filter(run_id=run_id).update(content=ERASED, payload=None)
            PromptAttachment.objects.filter(run_id=run_id).delete()
            SteeringNote.objects.filter(run_id=run_id).update(text=ERASED)
            ToolCall.objects.filter(run_id=run_id, stream_id=session.stream_id).update(args="{}", result=ERASED)
            _blank_events(session.stream_id, run_id)
            run_deliveries_remove(stream_id=session.stream_id, run_id=run_id)
    return len(runs)


def _blank_events(stream_id: int, run_id: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE events_app_event SET data = %s WHERE stream_id = %s AND run_id = %s",
            ['{"erased":true,"requestId":"' + run_id + '"}', stream_id, run_id],
        )


def _ledger_update(entries: QuerySet[LedgerEntry], **values: str | None) -> None:
    """Takes session or person out of ledger rows, in batches. What is folded of them knows neither."""
    while keys := list(entries.values_list("pk", flat=True)[:BATCH]):
        with write_transaction():
            LedgerEntry.objects.filter(pk__in=keys).update(**values)


def _delete(rows: QuerySet[Model]) -> None:
    """Deletes in batches, each a transaction of its own."""
    model = rows.model
    while True:
        keys = list(rows.values_list("pk", flat=True)[:BATCH])
        if not keys:
            return
        with write_transaction():
            model._default_manager.filter(pk__in=keys).delete()
