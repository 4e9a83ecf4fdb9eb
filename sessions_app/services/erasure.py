"""Erasure of a session, of an end user in all sessions, and of all sessions of a tenant.

Ledger entries and the audit stay, without the names of sessions and persons. Rows are removed in batches, so that other
tenants' prompts are not blocked. An erasure that was interrupted is completed by calling it again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from django.db import connection
from django.db.models import Model, Q, QuerySet

from agents_app.engine import CUT_MARK
from core_app import clock, jsontext
from core_app.batch_size import BatchSizer
from core_app.database import write_transaction
from core_app.errors import SessionNotFound
from core_app.lifecycle import process_wide
from events_app import log
from events_app.removal import GoOn, run_events_replace, streams_empty, streams_remove
from events_app.webhooks.removal import run_deliveries_remove
from sessions_app.events import SessionClosed
from sessions_app.models import (
    AgentSession,
    Message,
    PromptAttachment,
    Run,
    SessionGroup,
    SessionState,
    SteeringNote,
)
from sessions_app.selectors import runs_unfinished, sessions_of_end_user
from sessions_app.services.attachments import attachments_delete
from sessions_app.services.run_end import run_stop
from tenants_app.models import LedgerEntry, Tenant
from tenants_app.services.audit import audit_record
from tenants_app.services.idempotency import idempotency_erase
from tools_app.models import SessionTool, ToolCall

BATCH = 1000
BATCH_SIZE = process_wide(BatchSizer(), reset=BatchSizer.reset)
ATTACHMENTS = 100
"""Number of attachments that are deleted in a transaction."""

SESSIONS = 100
"""Number of sessions that are removed together."""

ERASED = "[erased]"


def session_erase(*, tenant_id: int, public_id: str, actor: str) -> int:
    """Ends and removes a session with its messages, events and tool calls. Returns the number of events removed.

    Raises SessionNotFound. The id may be used again afterwards.
    """
    session = AgentSession.objects.filter(tenant_id=tenant_id, public_id=public_id).first()
    if session is None:
        raise SessionNotFound(f"There is no session {public_id!r}.")
    session_end(session)
    removed = sessions_remove([session]).events
    _idempotency_erase(session)
    audit_record(tenant_id=tenant_id, actor=actor, action="session.erase", target=public_id, detail={"events": removed})
    return removed


def end_user_erase(*, tenant_id: int, end_user: str, actor: str) -> tuple[int, int]:
    """Erases the sessions in which only this end user spoke, and redacts the user's runs in all others. Returns the
    numbers of sessions and of runs.

    Messages that were copied by a fork or imported count in the session that has them now.
    """
    sessions = runs_only = 0
    for session in _iterate(sessions_of_end_user(tenant_id, end_user)):
        runs = Run.objects.filter(session=session).exclude(end_user=end_user)
        others = Message.objects.filter(session=session, end_user__isnull=False).exclude(end_user=end_user)
        if runs.exists() or others.exists():
            runs_only += _redact(session, end_user)
        else:
            session_end(session)
            sessions_remove([session])
            _idempotency_erase(session)
            sessions += 1
    _ledger_update(LedgerEntry.objects.filter(tenant_id=tenant_id, end_user=end_user), end_user=None)
    detail = {"sessions": sessions, "runs": runs_only}
    audit_record(tenant_id=tenant_id, actor=actor, action="end_user.erase", target="", detail=detail)
    return sessions, runs_only


def tenant_erase(*, tenant: Tenant, actor: str) -> int:
    """Erases all sessions and groups of a tenant. Returns the number of sessions. The tenant and its ledger stay."""
    erased = 0
    keys = list(AgentSession.objects.filter(tenant=tenant).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), SESSIONS):
        sessions = list(AgentSession.objects.filter(pk__in=keys[start : start + SESSIONS]))
        for session in sessions:
            session_end(session)
        erased += sessions_remove(sessions).sessions
    idempotency_erase(tenant_id=tenant.pk)
    for group in SessionGroup.objects.filter(tenant=tenant):
        streams_empty(stream_ids=[group.stream_id])
        with write_transaction():
            group.delete()
            streams_remove(stream_ids=[group.stream_id])
    audit_record(
        tenant_id=tenant.pk, actor=actor, action="tenant.erase", target=tenant.slug, detail={"sessions": erased}
    )
    return erased


def _iterate(sessions: QuerySet[AgentSession]) -> Iterator[AgentSession]:
    """Yields the sessions without an open cursor: beside one, SQLite refuses to write after other connections wrote."""
    for key in list(sessions.values_list("pk", flat=True)):
        session = AgentSession.objects.filter(pk=key).first()
        if session is not None:
            yield session


def session_end(session: AgentSession) -> None:
    """Ends the session's runs and closes it, with the events that followers wait for. Further prompts are refused."""
    with write_transaction():
        log.lock(session.stream_id)
        session.refresh_from_db()
        if session.closed_at is not None:
            return
        session.closed_at = clock.now()
        session.save(update_fields=["closed_at"])
        for run in runs_unfinished(session.pk).order_by("number"):
            run_stop(session=session, run=run, reason="deleted", message="The session was erased.")
        AgentSession.objects.filter(pk=session.pk).update(state=SessionState.CLOSED)
        log.append(session.stream_id, [SessionClosed()])


def sessions_end(keys: Sequence[int], *, where: Q) -> list[AgentSession]:
    """Closes the sessions for which `where` still holds after their streams are locked, and returns them.

    `where` must exclude sessions with unfinished runs. A prompt that came before the lock therefore keeps its session,
    and one that comes after it is refused.
    """
    with write_transaction():
        log.lock_all(list(AgentSession.objects.filter(pk__in=keys).values_list("stream_id", flat=True)))
        sessions = list(AgentSession.objects.filter(where, pk__in=keys).order_by("pk"))
        ending = [session for session in sessions if session.closed_at is None]
        if ending:
            ended = AgentSession.objects.filter(pk__in=[session.pk for session in ending])
            ended.update(closed_at=clock.now(), state=SessionState.CLOSED)
            log.append_each([session.stream_id for session in ending], SessionClosed())
    return sessions


class RemovalCounts(NamedTuple):
    """Numbers of removed sessions and events. A session counts once it is removed completely."""

    sessions: int = 0
    events: int = 0


def sessions_remove(sessions: Sequence[AgentSession], *, go_on: GoOn = lambda: True) -> RemovalCounts:
    """Removes closed sessions of one tenant. Their ledger entries stay, without session and end user.

    Each transaction removes rows of all the sessions, which shares its cost; `go_on` is asked before each. The rows of
    the sessions are removed last, so that an interrupted removal can be repeated.
    """
    if not sessions:
        return RemovalCounts()
    (tenant_id,) = {session.tenant_id for session in sessions}
    keys, streams = [session.pk for session in sessions], [session.stream_id for session in sessions]
    names = [session.public_id for session in sessions]
    spent = LedgerEntry.objects.filter(tenant_id=tenant_id, session_ref__in=names)
    _ledger_update(spent, go_on, session_ref="", end_user=None)
    _delete_attachments(Q(message__session__in=keys), go_on)
    _delete_attachments(Q(run__session__in=keys), go_on)
    _delete(SteeringNote.objects.filter(run__session__in=keys), go_on)
    _delete(Message.objects.filter(session__in=keys), go_on)
    _delete(ToolCall.objects.filter(stream_id__in=streams), go_on)
    _delete(SessionTool.objects.filter(stream_id__in=streams), go_on)
    events = streams_empty(stream_ids=streams, go_on=go_on)
    _delete(Run.objects.filter(session__in=keys), go_on)
    if not go_on():
        return RemovalCounts(events=events)
    with write_transaction():
        AgentSession.objects.filter(pk__in=keys).delete()
        streams_remove(stream_ids=streams)
    return RemovalCounts(len(sessions), events)


def _idempotency_erase(session: AgentSession) -> None:
    """Removes the responses stored for Idempotency-Key: some of them show the session object."""
    idempotency_erase(tenant_id=session.tenant_id, path=f"/v1/sessions/{session.public_id}")


def _redact(session: AgentSession, end_user: str) -> int:
    """Replaces the texts of one end user's runs in the session. The structure of the conversation stays. Returns the
    number of runs."""
    runs = list(Run.objects.filter(session=session, end_user=end_user).values_list("pk", flat=True))
    for run_id in runs:
        with write_transaction():
            log.lock(session.stream_id)
            for run in runs_unfinished(session.pk).filter(pk=run_id):
                run_stop(session=session, run=run, reason="deleted", message="The end user was erased.")
            Run.objects.filter(pk=run_id).update(text=ERASED, last_message=None, metadata="{}", end_user=None)
            Run.objects.filter(pk=run_id, error_reason__isnull=False).update(error_reason=ERASED)
            Message.objects.filter(run_id=run_id).update(content=ERASED, payload=None)
            _redact_calls(session.stream_id, run_id)
            attachments_delete(PromptAttachment.objects.filter(run_id=run_id))
            SteeringNote.objects.filter(run_id=run_id).update(text=ERASED)
            erased = jsontext.encode_text({"erased": True, "requestId": run_id})
            run_events_replace(stream_id=session.stream_id, run_id=run_id, data=erased)
            run_deliveries_remove(stream_id=session.stream_id, run_id=run_id)
    with write_transaction():
        log.lock(session.stream_id)
        _redact_messages(Message.objects.filter(session=session, run__isnull=True, end_user=end_user))
        _forget_cuts(session)
    return len(runs)


def _redact_messages(messages: QuerySet[Message]) -> None:
    """Redacts messages without a run, which were copied by a fork or imported."""
    attachments_delete(PromptAttachment.objects.filter(message__in=messages))
    _redact_arguments(messages)
    messages.update(content=ERASED, payload=None, end_user=None)


def _forget_cuts(session: AgentSession) -> None:
    """Removes payloads that may contain the summary of a cut, since it may repeat what any end user said."""
    Message.objects.filter(session=session, payload__contains=CUT_MARK).update(payload=None)
    AgentSession.objects.filter(pk=session.pk).update(kept_from=None, kept_for=None)


def _redact_calls(stream_id: int, run_id: str) -> None:
    """Redacts arguments, comments and results of the run's tool calls. The calls themselves stay, so that calls and
    results still match."""
    _redact_arguments(Message.objects.filter(run_id=run_id))
    made = ToolCall.objects.filter(run_id=run_id, stream_id=stream_id)
    made.update(args="{}", decided_args=None, comment=None, question=None, options=None)
    made.filter(result__isnull=False).update(result=ERASED)


def _redact_arguments(messages: QuerySet[Message]) -> None:
    for pk, text in list(messages.filter(calls__isnull=False).values_list("pk", "calls")):
        calls = [{**call, "arguments": {}} for call in jsontext.decode(text or "[]")]
        Message.objects.filter(pk=pk).update(calls=jsontext.encode_text(calls))


def _ledger_update(entries: QuerySet[LedgerEntry], go_on: GoOn = lambda: True, **values: str | None) -> None:
    """Updates ledger entries in batches. The sums per day name neither sessions nor persons."""
    while (keys := list(entries.values_list("pk", flat=True)[: BATCH_SIZE.limit(BATCH)])) and go_on():
        with write_transaction(), BATCH_SIZE.measure(BATCH):
            LedgerEntry.objects.filter(pk__in=keys).update(**values)


def _delete_attachments(where: Q, go_on: GoOn) -> None:
    """Deletes attachments and their contents in batches; few at a time, since each may have twenty megabytes."""
    rows = PromptAttachment.objects.filter(where)
    while (keys := list(rows.values_list("pk", flat=True)[:ATTACHMENTS])) and go_on():
        with write_transaction():
            attachments_delete(PromptAttachment.objects.filter(pk__in=keys))


def _delete(rows: QuerySet[Model], go_on: GoOn = lambda: True) -> None:
    """Deletes rows in batches, each in a transaction. Rows that refer to them must already be deleted."""
    manager = rows.model._default_manager
    while (keys := list(rows.values_list("pk", flat=True)[: BATCH_SIZE.limit(BATCH)])) and go_on():
        with write_transaction(), BATCH_SIZE.measure(BATCH):
            # `delete` would first read all columns of the rows, to look for rows that refer to them.
            manager.filter(pk__in=keys)._raw_delete(connection.alias)
