"""Retention: what is older than a tenant keeps it goes, in batches that lock nothing for long.

Whole sessions that are closed or have been quiet, events of runs that ended long ago (their readers are told
`events_dropped`), ledger rows, and groups that are empty. The gateway's GATEWAY_RETENTION_*_DAYS hold where a
tenant's settings (`retention_sessions_days`, `retention_events_days`, `retention_ledger_days`) say nothing; 0 keeps
for ever.
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
class Removed:
    """What one round took away."""

    sessions: int = 0
    events: int = 0
    ledger: int = 0
    groups: int = 0


def retention_apply(*, tenant: Tenant, go_on: GoOn = lambda: True) -> Removed:
    """Removes everything that is too old, of one tenant."""
    moment = clock.now()
    return Removed(
        sessions=_older(tenant, "sessions", moment, _sessions_remove, go_on),
        events=_older(tenant, "events", moment, _events_remove, go_on),
        ledger=_older(tenant, "ledger", moment, _ledger_remove, go_on),
        # Last: what went before may have emptied them. They say nothing that could be too old.
        groups=groups_remove(tenant, go_on=go_on),
    )


def retention_apply_all(*, go_on: GoOn = lambda: True) -> Removed:
    """The same for every tenant, one after the other."""
    rounds = [retention_apply(tenant=tenant, go_on=go_on) for tenant in Tenant.objects.order_by("pk")]
    return Removed(
        sessions=sum(done.sessions for done in rounds),
        events=sum(done.events for done in rounds),
        ledger=sum(done.ledger for done in rounds),
        groups=sum(done.groups for done in rounds),
    )


def days_kept(tenant: Tenant, what: str) -> int:
    """How many days a tenant keeps `what`; 0 is for ever."""
    own = tenant.settings.get(f"retention_{what}_days")
    return int(own if own is not None else getattr(settings, f"GATEWAY_RETENTION_{what.upper()}_DAYS"))


def _older(
    tenant: Tenant, what: str, moment: datetime, remove: Callable[[Tenant, datetime, GoOn], int], go_on: GoOn
) -> int:
    days = days_kept(tenant, what)
    return remove(tenant, moment - timedelta(days=days), go_on) if days > 0 else 0


def _sessions_remove(tenant: Tenant, before: datetime, go_on: GoOn) -> int:
    """Closed sessions, and those that nobody has touched; never one with a run that is under way or waits."""
    busy = Run.objects.filter(session_id=OuterRef("pk"), state__in=UNFINISHED)
    due = (Q(closed_at__lt=before) | Q(updated_at__lt=before)) & ~Q(Exists(busy))
    removed = 0
    # The ids first: SQLite refuses to write where a reading cursor is open and others have written since.
    keys = list(AgentSession.objects.filter(due, tenant=tenant).order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(keys), SESSIONS):
        if not go_on():
            break
        # Ended first, those that are still due under their streams' locks: a prompt that came in between keeps its own.
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
        through = min(row["through"], _begun_at(row["session_id"]) - 1)
        stream_id = row["session__stream_id"]
        if through > kept_from.get(stream_id, through):
            removed += events_remove(stream_id=stream_id, through=through, go_on=go_on)
    for stream_id in list(SessionGroup.objects.filter(tenant=tenant).values_list("stream_id", flat=True)):
        if not go_on():
            break
        removed += events_remove(stream_id=stream_id, through=removed_sources_through(stream_id), go_on=go_on)
    return removed


def _begun_at(session_id: int) -> int:
    """The first offset that an unfinished run still needs."""
    first = Run.objects.filter(session_id=session_id, state__in=UNFINISHED).aggregate(Min("first_offset"))
    return first["first_offset__min"] or 2**62


def _ledger_remove(tenant: Tenant, before: datetime, go_on: GoOn) -> int:
    return ledger_remove(tenant_id=tenant.pk, before=before, go_on=go_on)
