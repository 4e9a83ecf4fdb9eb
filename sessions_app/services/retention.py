"""Retention: removes what is older than a tenant's retention time, in batches that hold no lock for long.

It removes sessions that are closed or inactive, events of runs that ended (their readers get `events_dropped`), ledger
entries, and empty groups. The tenant's settings `retention_sessions_days`, `retention_events_days` and
`retention_ledger_days` override GATEWAY_RETENTION_*_DAYS. 0 keeps everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, Max, Min, OuterRef, Q

from core_app import clock
from events_app.positions import floors
from events_app.removal import GoOn, events_remove, removed_sources_through
from sessions_app.models import UNFINISHED, AgentSession, Run, SessionGroup
from sessions_app.services.erasure import SESSIONS, sessions_end, sessions_remove
from sessions_app.services.groups import groups_remove
from tenants_app.models import Tenant
from tenants_app.services.usage import ledger_remove


@dataclass(frozen=True, slots=True)
class RetentionCounts:
    """Numbers of what one round removed."""

    sessions: int = 0
    events: int = 0
    ledger: int = 0
    groups: int = 0


def retention_apply(*, tenant: Tenant, go_on: GoOn = lambda: True) -> RetentionCounts:
    """Removes everything of one tenant that is too old."""
    moment = clock.now()
    return RetentionCounts(
        sessions=_remove_older(tenant, "sessions", moment, _sessions_remove, go_on),
        events=_remove_older(tenant, "events", moment, _events_remove, go_on),
        ledger=_remove_older(tenant, "ledger", moment, _ledger_remove, go_on),
        # Last, because the removals before may have emptied groups. Groups have no age of their own.
        groups=groups_remove(tenant, go_on=go_on),
    )


def retention_apply_all(*, go_on: GoOn = lambda: True) -> RetentionCounts:
    """Applies retention to every tenant, one after the other, and returns the sums."""
    rounds = [retention_apply(tenant=tenant, go_on=go_on) for tenant in Tenant.objects.order_by("pk")]
    return RetentionCounts(
        sessions=sum(done.sessions for done in rounds),
        events=sum(done.events for done in rounds),
        ledger=sum(done.ledger for done in rounds),
        groups=sum(done.groups for done in rounds),
    )


def retention_days(tenant: Tenant, what: str) -> int:
    """Returns the retention time of `what` ("sessions", "events" or "ledger") in days. 0 means without end."""
    own = tenant.settings.get(f"retention_{what}_days")
    return int(own if own is not None else getattr(settings, f"GATEWAY_RETENTION_{what.upper()}_DAYS"))


def _remove_older(
    tenant: Tenant, what: str, moment: datetime, remove: Callable[[Tenant, datetime, GoOn], int], go_on: GoOn
) -> int:
    days = retention_days(tenant, what)
    return remove(tenant, moment - timedelta(days=days), go_on) if days > 0 else 0


def _sessions_remove(tenant: Tenant, before: datetime, go_on: GoOn) -> int:
    """Removes sessions that were closed or last changed before the date and have no unfinished run."""
    busy = Run.objects.filter(session_id=OuterRef("pk"), state__in=UNFINISHED)
    due = (Q(closed_at__lt=before) | Q(updated_at__lt=before)) & ~Q(Exists(busy))
    removed = 0
    # The ids first: beside an open cursor, SQLite refuses to write after other connections wrote.
    keys = list(AgentSession.objects.filter(due, tenant=tenant).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), SESSIONS):
        if not go_on():
            break
        # Only sessions that are still due under their streams' locks are closed: a new prompt keeps its session.
        ended = sessions_end(keys[start : start + SESSIONS], where=due)
        removed += sessions_remove(ended, go_on=go_on).sessions
    return removed


def _events_remove(tenant: Tenant, before: datetime, go_on: GoOn) -> int:
    old = Run.objects.filter(tenant=tenant, ended_at__lt=before)
    ends = list(old.values("session_id", "session__stream_id").annotate(through=Max("last_offset")))
    kept_from = floors([row["session__stream_id"] for row in ends])
    removed = 0
    for row in ends:
        if not go_on():
            break
        through = min(row["through"], _first_needed_offset(row["session_id"]) - 1)
        stream_id = row["session__stream_id"]
        if through > kept_from.get(stream_id, through):
            removed += events_remove(stream_id=stream_id, through=through, go_on=go_on)
    for stream_id in list(SessionGroup.objects.filter(tenant=tenant).values_list("stream_id", flat=True)):
        if not go_on():
            break
        removed += events_remove(stream_id=stream_id, through=removed_sources_through(stream_id), go_on=go_on)
    return removed


def _first_needed_offset(session_id: int) -> int:
    """Returns the first offset that an unfinished run of the session needs."""
    first = Run.objects.filter(session_id=session_id, state__in=UNFINISHED).aggregate(Min("first_offset"))
    return first["first_offset__min"] or 2**62


def _ledger_remove(tenant: Tenant, before: datetime, go_on: GoOn) -> int:
    return ledger_remove(tenant_id=tenant.pk, before=before, go_on=go_on)
