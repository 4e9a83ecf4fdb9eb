"""Erasing what was said: a session, an end user's part of all sessions, a tenant's sessions.

The ledger and the audit stay, without what would name a session or a person. Everything goes in batches, so that
other tenants' prompts go on meanwhile; an erasure that was cut off is finished by asking for it again.
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
from sessions_app.services.run_end import run_stop
from tenants_app.models import LedgerEntry, Tenant
from tenants_app.services.audit import audit_record
from tenants_app.services.idempotency import idempotency_erase
from tools_app.models import SessionTool, ToolCall

BATCH = 1000
PACE = process_wide(BatchSizer(), reset=BatchSizer.reset)
SESSIONS = 100
"""How many are removed together."""

ERASED = "[erased]"


def session_erase(*, tenant_id: int, public_id: str, actor: str) -> int:
    """Ends and removes a session with its messages, events and tool calls; how many events went.

    Raises SessionNotFound. The id is free afterwards.
    """
    session = AgentSession.objects.filter(tenant_id=tenant_id, public_id=public_id).first()
    if session is None:
        raise SessionNotFound(f"There is no session {public_id!r}.")
    session_end(session)
    removed = sessions_remove([session]).events
    _answers_erase(session)
    audit_record(tenant_id=tenant_id, actor=actor, action="session.erase", target=public_id, detail={"events": removed})
    return removed


def end_user_erase(*, tenant_id: int, end_user: str, actor: str) -> tuple[int, int]:
    """Erases every session in which only this end user spoke, and this user's runs in the others; how many of each.

    What forks have copied and imports have brought of this user counts in the sessions where it is now.
    """
    sessions = runs_only = 0
    for session in _each(sessions_of_end_user(tenant_id, end_user)):
        runs = Run.objects.filter(session=session).exclude(end_user=end_user)
        told = Message.objects.filter(session=session, end_user__isnull=False).exclude(end_user=end_user)
        if runs.exists() or told.exists():
            runs_only += _redact(session, end_user)
        else:
            session_end(session)
            sessions_remove([session])
            _answers_erase(session)
            sessions += 1
    _ledger_update(LedgerEntry.objects.filter(tenant_id=tenant_id, end_user=end_user), end_user=None)
    detail = {"sessions": sessions, "runs": runs_only}
    audit_record(tenant_id=tenant_id, actor=actor, action="end_user.erase", target="", detail=detail)
    return sessions, runs_only


def tenant_erase(*, tenant: Tenant, actor: str) -> int:
    """Erases all sessions and groups of a tenant; how many sessions. The tenant itself stays, for its ledger."""
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


def _each(sessions: QuerySet[AgentSession]) -> Iterator[AgentSession]:
    """One after the other, without a cursor that stays open: SQLite refuses to write beside one once others have."""
    for key in list(sessions.values_list("pk", flat=True)):
        session = AgentSession.objects.filter(pk=key).first()
        if session is not None:
            yield session


def session_end(session: AgentSession) -> None:
    """Ends what runs and tells the followers, who would wait for ever otherwise; no prompt is accepted any more."""
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
    """Ends those of the sessions for which `where` (still) holds once their streams are locked, and gives them back.

    `where` says that nothing runs in them: a prompt that came before the lock keeps its session, one that comes
    after it is refused.
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


class Gone(NamedTuple):
    """How much a removal took away; a session counts when nothing of it is left."""

    sessions: int = 0
    events: int = 0


def sessions_remove(sessions: Sequence[AgentSession], *, go_on: GoOn = lambda: True) -> Gone:
    """Removes sessions of one tenant on which nothing runs any more. The ledger's rows lose their names.

    Each transaction takes rows of all of them, so its cost is shared, and asks `go_on` first. The sessions' own rows
    go last, so that those whose removal was cut off are still found.
    """
    if not sessions:
        return Gone()
    (tenant_id,) = {session.tenant_id for session in sessions}
    keys, streams = [session.pk for session in sessions], [session.stream_id for session in sessions]
    names = [session.public_id for session in sessions]
    spent = LedgerEntry.objects.filter(tenant_id=tenant_id, session_ref__in=names)
    _ledger_update(spent, go_on, session_ref="", end_user=None)
    _delete(PromptAttachment.objects.filter(message__session__in=keys), go_on)
    _delete(PromptAttachment.objects.filter(run__session__in=keys), go_on)
    _delete(SteeringNote.objects.filter(run__session__in=keys), go_on)
    _delete(Message.objects.filter(session__in=keys), go_on)
    _delete(ToolCall.objects.filter(stream_id__in=streams), go_on)
    _delete(SessionTool.objects.filter(stream_id__in=streams), go_on)
    events = streams_empty(stream_ids=streams, go_on=go_on)
    _delete(Run.objects.filter(session__in=keys), go_on)
    if not go_on():
        return Gone(events=events)
    with write_transaction():
        AgentSession.objects.filter(pk__in=keys).delete()
        streams_remove(stream_ids=streams)
    return Gone(len(sessions), events)


def _answers_erase(session: AgentSession) -> None:
    """The answers that are kept for an Idempotency-Key: that of the session's creation shows the session object."""
    idempotency_erase(tenant_id=session.tenant_id, path=f"/v1/sessions/{session.public_id}")


def _redact(session: AgentSession, end_user: str) -> int:
    """Takes out what one end user said and was told; the conversation keeps its shape."""
    runs = list(Run.objects.filter(session=session, end_user=end_user).values_list("pk", flat=True))
    for run_id in runs:
        with write_transaction():
            log.lock(session.stream_id)
            for run in runs_unfinished(session.pk).filter(pk=run_id):
                run_stop(session=session, run=run, reason="deleted", message="The end user was erased.")
            Run.objects.filter(pk=run_id).update(text=ERASED, last_message=None, metadata="{}", end_user=None)
            Run.objects.filter(pk=run_id, error_reason__isnull=False).update(error_reason=ERASED)
            Message.objects.filter(run_id=run_id).update(content=ERASED, payload=None)
            _blank_calls(session.stream_id, run_id)
            PromptAttachment.objects.filter(run_id=run_id).delete()
            SteeringNote.objects.filter(run_id=run_id).update(text=ERASED)
            erased = jsontext.encode_text({"erased": True, "requestId": run_id})
            run_events_replace(stream_id=session.stream_id, run_id=run_id, data=erased)
            run_deliveries_remove(stream_id=session.stream_id, run_id=run_id)
    with write_transaction():
        log.lock(session.stream_id)
        _blank_messages(Message.objects.filter(session=session, run__isnull=True, end_user=end_user))
        _forget_cuts(session)
    return len(runs)


def _blank_messages(told: QuerySet[Message]) -> None:
    """Messages without a run, which a fork has copied or an import has brought."""
    PromptAttachment.objects.filter(message__in=told).delete()
    _blank_arguments(told)
    told.update(content=ERASED, payload=None, end_user=None)


def _forget_cuts(session: AgentSession) -> None:
    """A cut's summary is in the payload of whatever came after it, in words of everybody before."""
    Message.objects.filter(session=session, payload__contains=CUT_MARK).update(payload=None)
    AgentSession.objects.filter(pk=session.pk).update(kept_from=None, kept_for=None)


def _blank_calls(stream_id: int, run_id: str) -> None:
    """What the model and the people around it put into calls; that there was a call stays, for its result to fit."""
    _blank_arguments(Message.objects.filter(run_id=run_id))
    made = ToolCall.objects.filter(run_id=run_id, stream_id=stream_id)
    made.update(args="{}", decided_args=None, comment=None, question=None, options=None)
    made.filter(result__isnull=False).update(result=ERASED)


def _blank_arguments(told: QuerySet[Message]) -> None:
    for pk, text in list(told.filter(calls__isnull=False).values_list("pk", "calls")):
        calls = [{**call, "arguments": {}} for call in jsontext.decode(text or "[]")]
        Message.objects.filter(pk=pk).update(calls=jsontext.encode_text(calls))


def _ledger_update(entries: QuerySet[LedgerEntry], go_on: GoOn = lambda: True, **values: str | None) -> None:
    """Takes session or person out of ledger rows, in batches. What is folded of them knows neither."""
    while (keys := list(entries.values_list("pk", flat=True)[: PACE.limit(BATCH)])) and go_on():
        with write_transaction(), PACE.measure(BATCH):
            LedgerEntry.objects.filter(pk__in=keys).update(**values)


def _delete(rows: QuerySet[Model], go_on: GoOn = lambda: True) -> None:
    """Deletes in batches, each a transaction of its own. What refers to the rows has gone before."""
    manager = rows.model._default_manager
    while (keys := list(rows.values_list("pk", flat=True)[: PACE.limit(BATCH)])) and go_on():
        with write_transaction(), PACE.measure(BATCH):
            # Not `delete`, which reads the rows, texts and all, to look for what refers to them.
            manager.filter(pk__in=keys)._raw_delete(connection.alias)
