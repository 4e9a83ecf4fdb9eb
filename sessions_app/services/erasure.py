"""Erasure of a session, of an end user in all sessions, and of all sessions of a tenant.

Ledger entries and the audit stay, without the names of sessions and persons. Rows are removed in batches, so that other
tenants' prompts are not blocked. An erasure that was interrupted is completed by calling it again. Sessions are marked
(`erasing_at`) while they are being erased: they are neither forked nor exported.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from django.db import connection
from django.db.models import Model, Q, QuerySet

from agents_app.programs.directories import directory_remove
from core_app import clock
from core_app.batch_size import BatchSizer
from core_app.database import write_transaction
from core_app.errors import Conflict, SessionNotFound
from core_app.lifecycle import process_wide
from events_app import log
from events_app.removal import GoOn, streams_empty, streams_remove
from sessions_app.dependents import DEPENDENTS
from sessions_app.events import SessionClosed
from sessions_app.models import (
    AgentSession,
    Message,
    Run,
    SessionGroup,
    SessionState,
    SteeringNote,
)
from sessions_app.selectors import runs_unfinished, sessions_of_end_user
from sessions_app.services.attachments import attachments_remove
from sessions_app.services.erasure_mark import sessions_mark
from sessions_app.services.redaction import session_redact
from sessions_app.services.run_end import run_stop
from tenants_app.models import LedgerEntry, Tenant
from tenants_app.services.audit import audit_record
from tenants_app.services.idempotency import idempotency_erase
from tools_app.models import SessionTool, ToolCall

BATCH = 1000
BATCH_SIZE = process_wide(BatchSizer(), reset=BatchSizer.reset)
SESSIONS = 100
"""Number of sessions that are removed together."""

MAX_ROUNDS = 20
"""Times that an erasure looks for what came while it worked."""


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

    Messages that were copied by a fork or imported count in the session that has them now. Looks again until nothing is
    found, because sessions may have been forked or prompted meanwhile. Raises Conflict while the end user goes on.
    """
    sessions = runs = 0
    DEPENDENTS.end_user_erase(tenant_id, end_user)
    for found in _rounds(sessions_of_end_user(tenant_id, end_user)):
        for session in found:
            if _others_spoke(session, end_user):
                runs += session_redact(session, end_user)
            else:
                session_end(session)
                sessions_remove([session])
                _idempotency_erase(session)
                sessions += 1
    # Again, for what was made while the sessions were removed.
    DEPENDENTS.end_user_erase(tenant_id, end_user)
    _ledger_update(LedgerEntry.objects.filter(tenant_id=tenant_id, end_user=end_user), end_user=None)
    detail = {"sessions": sessions, "runs": runs}
    audit_record(tenant_id=tenant_id, actor=actor, action="end_user.erase", target="", detail=detail)
    return sessions, runs


class TenantErasure(NamedTuple):
    """The number of sessions that were erased, and whether nothing is left."""

    sessions: int
    complete: bool


def tenant_erase(*, tenant: Tenant, actor: str, go_on: GoOn = lambda: True) -> TenantErasure:
    """Erases all sessions and groups of a tenant. The tenant and its ledger stay.

    `go_on` is asked before each SESSIONS sessions; an erasure that stops is continued by calling it again. Raises
    Conflict while further sessions are created.
    """
    erased, complete = 0, True
    DEPENDENTS.tenant_erase(tenant)
    for found in _rounds(AgentSession.objects.filter(tenant=tenant).order_by("pk")):
        while complete and (sessions := list(itertools.islice(found, SESSIONS))):
            for session in sessions:
                session_end(session)
            erased += sessions_remove(sessions).sessions
            complete = go_on()
        if not complete:
            break
    if complete:
        idempotency_erase(tenant_id=tenant.pk)
        for group in SessionGroup.objects.filter(tenant=tenant):
            streams_empty(stream_ids=[group.stream_id])
            with write_transaction():
                group.delete()
                streams_remove(stream_ids=[group.stream_id])
    detail = {"sessions": erased, "complete": complete}
    audit_record(tenant_id=tenant.pk, actor=actor, action="tenant.erase", target=tenant.slug, detail=detail)
    return TenantErasure(erased, complete)


def _others_spoke(session: AgentSession, end_user: str) -> bool:
    runs = Run.objects.filter(session=session).exclude(end_user=end_user)
    others = Message.objects.filter(session=session, end_user__isnull=False).exclude(end_user=end_user)
    return runs.exists() or others.exists()


def _rounds(sessions: QuerySet[AgentSession]) -> Iterator[Iterator[AgentSession]]:
    """Yields the selected sessions, which the caller removes or changes, until none is selected any more."""
    for _ in range(MAX_ROUNDS):
        keys = list(sessions.values_list("pk", flat=True))
        if not keys:
            return
        yield _iterate(keys)
    raise Conflict(f"New sessions or prompts came in each of {MAX_ROUNDS} rounds. Stop the client and erase again.")


def _iterate(keys: Sequence[int]) -> Iterator[AgentSession]:
    """Yields the sessions without an open cursor: beside one, SQLite refuses to write after other connections wrote."""
    for key in keys:
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
    sessions_mark(keys)
    spent = LedgerEntry.objects.filter(tenant_id=tenant_id, session_ref__in=names)
    _ledger_update(spent, go_on, session_ref="", end_user=None)
    attachments_remove(Q(message__session__in=keys), go_on)
    attachments_remove(Q(run__session__in=keys), go_on)
    _delete(SteeringNote.objects.filter(run__session__in=keys), go_on)
    _delete(Message.objects.filter(session__in=keys), go_on)
    _delete(ToolCall.objects.filter(stream_id__in=streams), go_on)
    _delete(SessionTool.objects.filter(stream_id__in=streams), go_on)
    events = streams_empty(stream_ids=streams, go_on=go_on)
    _delete(Run.objects.filter(session__in=keys), go_on)
    if not go_on():
        return RemovalCounts(events=events)
    # Before the rows, so that an interrupted removal finds them again.
    for name in names:
        directory_remove(tenant_id, name)
    with write_transaction():
        AgentSession.objects.filter(pk__in=keys).delete()
        streams_remove(stream_ids=streams)
    return RemovalCounts(len(sessions), events)


def _idempotency_erase(session: AgentSession) -> None:
    """Removes the responses stored for Idempotency-Key: some of them show the session object."""
    idempotency_erase(tenant_id=session.tenant_id, path=f"/v1/sessions/{session.public_id}")


def _ledger_update(entries: QuerySet[LedgerEntry], go_on: GoOn = lambda: True, **values: str | None) -> None:
    """Updates ledger entries in batches. The sums per day name neither sessions nor persons."""
    while (keys := list(entries.values_list("pk", flat=True)[: BATCH_SIZE.limit(BATCH)])) and go_on():
        with write_transaction(), BATCH_SIZE.measure(BATCH):
            LedgerEntry.objects.filter(pk__in=keys).update(**values)


def _delete(rows: QuerySet[Model], go_on: GoOn = lambda: True) -> None:
    """Deletes rows in batches, each in a transaction. Rows that refer to them must already be deleted."""
    manager = rows.model._default_manager
    while (keys := list(rows.values_list("pk", flat=True)[: BATCH_SIZE.limit(BATCH)])) and go_on():
        with write_transaction(), BATCH_SIZE.measure(BATCH):
            # `delete` would first read all columns of the rows, to look for rows that refer to them.
            manager.filter(pk__in=keys)._raw_delete(connection.alias)
