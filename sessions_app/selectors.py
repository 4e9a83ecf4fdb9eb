"""Queries on sessions, runs and messages. Every look-up is bound to the principal's tenant.

The id of another tenant's session raises the same SessionNotFound as an unknown one.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from django.db.models import Count, Model, Q, QuerySet, Sum, Value
from django.db.models.functions import Coalesce, Length

from core_app.errors import NotFound, SessionNotFound
from events_app.models import Stream
from events_app.positions import StreamPosition, position
from sessions_app.models import ACTIVE, UNFINISHED, AgentSession, Message, Run, RunState, SessionGroup
from tenants_app.principal import Principal

Row = TypeVar("Row", bound=Model)

PAGE_CHARACTERS = 4 * 1024 * 1024
"""Limit of the texts in one page; the rest follows on the next page. Without it, 200 answers of a megabyte took several
times 200 MB while the page was built."""

UNLISTED = ("system_prompt", "response_format", "options", "builtins", "approvals", "metadata")
"""Columns that lists of sessions do not show. Each may hold a megabyte."""


def session_get(principal: Principal, public_id: str) -> AgentSession:
    """Returns the tenant's session of that id, open or closed. Raises SessionNotFound."""
    session = (
        AgentSession.objects.select_related("group").filter(tenant_id=principal.tenant_id, public_id=public_id).first()
    )
    if session is None:
        raise session_not_found(public_id)
    return session


def session_position(session: AgentSession) -> StreamPosition:
    """Returns the position of the session's stream. Raises SessionNotFound when the session has been erased
    meanwhile."""
    try:
        return position(session.stream_id)
    except Stream.DoesNotExist:
        raise session_not_found(session.public_id) from None


def session_not_found(public_id: str) -> SessionNotFound:
    """Returns the error for an id that the tenant has no session of."""
    return SessionNotFound(f"There is no session {public_id!r}.")


def session_names(stream_ids: Collection[int]) -> Mapping[int, str]:
    """Returns public session ids by stream id. Not bound to a tenant: the caller must know that the streams are its
    tenant's."""
    return dict(AgentSession.objects.filter(stream_id__in=stream_ids).values_list("stream_id", "public_id"))


def running_by_agent() -> Mapping[tuple[int, str], int]:
    """Counts the running runs of all tenants, by tenant and agent."""
    running = Run.objects.filter(state=RunState.RUNNING, session__agent__isnull=False)
    counted = running.values_list("tenant_id", "session__agent").annotate(runs=Count("pk"))
    return {(tenant_id, str(agent)): runs for tenant_id, agent, runs in counted}


def runs_paused(run_ids: Collection[str]) -> Collection[str]:
    """Returns those of the runs that wait for somebody, or are ready to go on. Not bound to a tenant."""
    paused = Run.objects.filter(pk__in=run_ids, state__in=(RunState.WAITING, RunState.READY))
    return list(paused.values_list("pk", flat=True))


def sessions_of_end_user(tenant_id: int, end_user: str) -> QuerySet[AgentSession]:
    """Returns sessions with a run of this end user, or with messages of theirs that were copied by a fork or
    imported."""
    runs = Run.objects.filter(tenant_id=tenant_id, end_user=end_user)
    messages = Message.objects.filter(end_user=end_user, session__tenant_id=tenant_id)
    involved = Q(pk__in=runs.values("session_id")) | Q(pk__in=messages.values("session_id"))
    return AgentSession.objects.filter(involved, tenant_id=tenant_id).order_by("pk")


def sessions_page(
    principal: Principal, *, before: int | None, limit: int, filters: Q, group: str | None = None
) -> tuple[list[AgentSession], int | None]:
    """Returns sessions, newest first, of the group if one is given, and the cursor of the next page (None at the
    end)."""
    rows = AgentSession.objects.select_related("group", "stream").defer(*UNLISTED)
    rows = rows.filter(filters, tenant_id=principal.tenant_id)
    if group is not None:
        # Filtered by primary key: a join would read all sessions of the tenant.
        of_tenant = SessionGroup.objects.filter(tenant_id=principal.tenant_id, public_id=group)
        rows = rows.filter(group_id=of_tenant.values_list("pk", flat=True).first() or 0)
    return _page(rows.filter(id__lt=before) if before is not None else rows, "-id", limit)


def run_get(session: AgentSession, run_id: str) -> Run:
    """Returns a run of the session. Raises NotFound."""
    run = Run.objects.filter(session=session, pk=run_id).first()
    if run is None:
        raise NotFound(f"The session has no run {run_id!r}.")
    return run


def run_active(session_id: int) -> Run | None:
    """Returns the run that is ready, running or waiting; there is at most one."""
    return Run.objects.filter(session_id=session_id, state__in=ACTIVE).first()


def run_current(session_id: int) -> Run | None:
    """Returns the run that a client regards as running: the active run, else the next queued one.

    An accepted prompt may wait for a free slot, which its client does not see.
    """
    return run_active(session_id) or run_next(session_id)


def run_next(session_id: int) -> Run | None:
    """Returns the queued run that starts next when none is active."""
    return runs_unfinished(session_id).order_by("-urgent", "number").first()


def runs_unfinished(session_id: int) -> QuerySet[Run]:
    """Returns the active run and the queued ones."""
    return Run.objects.filter(session_id=session_id, state__in=UNFINISHED)


def run_newest(session_id: int) -> Run | None:
    """Returns the run of the newest prompt."""
    return Run.objects.filter(session_id=session_id).order_by("-number").first()


def run_ending_after(session_id: int, after: int) -> Run | None:
    """Returns the newest run whose terminal event comes after the offset `after`, or is not written yet."""
    ahead = Q(last_offset__isnull=True) | Q(last_offset__gt=after)
    return Run.objects.filter(ahead, session_id=session_id).order_by("-number").first()


def runs_page(session: AgentSession, *, before: int | None, limit: int) -> tuple[list[Run], int | None]:
    """Returns runs, newest first, and the cursor of the next page."""
    rows = Run.objects.filter(session=session).defer("text")
    rows = rows.filter(number__lt=before) if before is not None else rows
    return _page(rows, "-number", limit, texts=("last_message", "error_reason", "metadata"))


def runs_failed(session: AgentSession, *, limit: int) -> list[Run]:
    """Returns the newest runs that failed, the oldest of them first."""
    rows = Run.objects.filter(session=session, state=RunState.FAILED).defer("text", "last_message")
    return list(rows.order_by("-number")[:limit])[::-1]


def run_outcomes(session_ids: Collection[int]) -> list[dict[str, Any]]:
    """Returns the ended runs of sessions, counted by agent and outcome: `agent` (the session's agent, else its model),
    `state`, `error_code`, `count`, and the sum of `active_ms`."""
    rows = Run.objects.filter(session_id__in=session_ids, ended_at__isnull=False)
    named = rows.annotate(agent=Coalesce("session__agent", "session__model")).order_by()
    summed = named.values("agent", "state", "error_code").annotate(count=Count("pk"), sum_ms=Sum("active_ms"))
    return [dict(row) for row in summed]


def messages_page(session: AgentSession, *, after: int, limit: int) -> tuple[list[Message], int | None]:
    """Returns messages, oldest first, and the cursor of the next page."""
    rows = Message.objects.filter(session=session, number__gt=after).defer("payload")
    return _page(rows, "number", limit, texts=("content", "calls"))


def messages_newest(session: AgentSession, *, limit: int) -> list[Message]:
    """Returns the newest messages, the oldest of them first; fewer than `limit` where they are large."""
    rows = Message.objects.filter(session=session).defer("payload")
    found, _ = _page(rows, "-number", limit, texts=("content", "calls"))
    return found[::-1]


def session_counts(tenant_id: int) -> tuple[int, int]:
    """Returns the numbers of the tenant's open sessions and of its unfinished runs."""
    sessions = AgentSession.objects.filter(tenant_id=tenant_id, closed_at__isnull=True).count()
    return sessions, Run.objects.filter(tenant_id=tenant_id, state__in=UNFINISHED).count()


def run_session(principal: Principal, run_id: str) -> AgentSession:
    """Returns the session of one of the tenant's runs. Raises NotFound."""
    run = Run.objects.select_related("session").filter(tenant_id=principal.tenant_id, pk=run_id).first()
    if run is None:
        raise NotFound(f"There is no run {run_id!r}.")
    return run.session


def _page(rows: QuerySet[Row], order: str, limit: int, texts: Collection[str] = ()) -> tuple[list[Row], int | None]:
    """Returns one page and its cursor. `texts` are unbounded columns: the page ends before the row with which they
    would exceed PAGE_CHARACTERS."""
    if not texts:
        found = list(rows.order_by(order)[: limit + 1])
        more = len(found) > limit
        return found[:limit], getattr(found[limit - 1], order.lstrip("-")) if more else None
    key = order.lstrip("-")
    size = sum((Coalesce(Length(name), 0) for name in texts), start=Value(0))
    sizes = list(rows.order_by(order).annotate(size=size).values_list(key, "size")[: limit + 1])
    ends = itertools.accumulate(size for _, size in sizes)
    count = max(1, min(limit, sum(end <= PAGE_CHARACTERS for end in ends)))
    keys = [key for key, _ in sizes[:count]]
    return list(rows.filter(**{f"{key}__in": keys}).order_by(order)), keys[-1] if len(sizes) > count else None
