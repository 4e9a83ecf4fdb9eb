"""Retention: removes what is older than a tenant's retention time, in batches that hold no lock for long.

It removes sessions that are closed or inactive, events of runs that ended (their readers get `events_dropped`), ledger
entries, audit entries, and empty groups. The tenant's settings `retention_sessions_days`, `retention_events_days`,
`retention_ledger_days` and `retention_audit_days` override GATEWAY_RETENTION_*_DAYS. 0 keeps everything.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from django.conf import settings
from django.db.models import Exists, OuterRef, Q

from core_app import clock
from events_app.removal import GoOn, counted_events_remove
from sessions_app.dependents import DEPENDENTS
from sessions_app.models import UNFINISHED, AgentSession, Run
from sessions_app.services.erasure import SESSIONS, sessions_end, sessions_remove
from sessions_app.services.groups import groups_remove
from sessions_app.services.old_runs import OldRuns
from tenants_app.models import Tenant
from tenants_app.services.audit import audit_remove
from tenants_app.services.usage import ledger_remove

TURN_BATCHES = 500
"""Batches of one tenant before the next one's turn. Most take a few milliseconds, so a turn takes seconds."""


@dataclass(frozen=True, slots=True)
class RetentionCounts:
    """Numbers of what one round removed."""

    sessions: int = 0
    events: int = 0
    ledger: int = 0
    groups: int = 0
    audit: int = 0

    def __add__(self, other: RetentionCounts) -> RetentionCounts:
        return RetentionCounts(
            **{field.name: getattr(self, field.name) + getattr(other, field.name) for field in fields(self)}
        )


def retention_apply(*, tenant: Tenant, go_on: GoOn = lambda: True) -> RetentionCounts:
    """Removes everything of one tenant that is too old."""
    moment = clock.now()
    # First, because what they remove refers to sessions.
    DEPENDENTS.retention_apply(tenant, go_on)
    return RetentionCounts(
        sessions=_remove_older(tenant, "sessions", moment, _sessions_remove, go_on),
        events=_remove_older(tenant, "events", moment, _events_remove, go_on),
        ledger=_remove_older(tenant, "ledger", moment, _ledger_remove, go_on),
        audit=_remove_older(tenant, "audit", moment, _audit_remove, go_on),
        # Last, because the removals before may have emptied groups. Groups have no age of their own.
        groups=groups_remove(tenant, go_on=go_on),
    )


def retention_apply_all(*, go_on: GoOn = lambda: True) -> RetentionCounts:
    """Applies retention to all tenants in turn, TURN_BATCHES of each at a time, and returns the sums.

    So a tenant with very much to remove does not keep the round from reaching the others.
    """
    total = RetentionCounts(audit=_gateway_audit_remove(go_on))
    remaining = deque(Tenant.objects.order_by("pk"))
    while remaining and go_on():
        tenant, turn = remaining.popleft(), _Turn(go_on)
        total += retention_apply(tenant=tenant, go_on=turn)
        if turn.over:
            remaining.append(tenant)
    return total


def retention_days(tenant: Tenant, what: str) -> int:
    """Returns the retention time of `what` ("sessions", "events", "ledger" or "audit") in days. 0 means without end."""
    own = tenant.settings.get(f"retention_{what}_days")
    return int(own if own is not None else getattr(settings, f"GATEWAY_RETENTION_{what.upper()}_DAYS"))


class _Turn:
    """A `GoOn` that ends after TURN_BATCHES batches; `over` tells that it has."""

    def __init__(self, go_on: GoOn) -> None:
        self._go_on = go_on
        self._left = TURN_BATCHES
        self.over = False

    def __call__(self) -> bool:
        self._left -= 1
        self.over = self._left < 0
        return not self.over and self._go_on()


def _remove_older(
    tenant: Tenant, what: str, moment: datetime, remove: Callable[[Tenant, datetime, GoOn], int], go_on: GoOn
) -> int:
    days = retention_days(tenant, what)
    return remove(tenant, moment - timedelta(days=days), go_on) if days > 0 else 0


def _sessions_remove(tenant: Tenant, before: datetime, go_on: GoOn) -> int:
    """Removes sessions that were closed or last changed before the date and have no unfinished run."""
    busy = Run.objects.filter(session_id=OuterRef("pk"), state__in=UNFINISHED)
    due = (Q(closed_at__lt=before) | Q(updated_at__lt=before)) & ~Q(Exists(busy))
    removed = after = 0
    # The ids first: beside an open cursor, SQLite refuses to write after other connections wrote.
    while keys := list(
        AgentSession.objects.filter(due, tenant=tenant, pk__gt=after)
        .order_by("pk")
        .values_list("pk", flat=True)[:SESSIONS]
    ):
        if not go_on():
            break
        # Only sessions that are still due under their streams' locks are closed: a new prompt keeps its session.
        removed += sessions_remove(sessions_end(keys, where=due), go_on=go_on).sessions
        after = keys[-1]
    return removed


def _events_remove(tenant: Tenant, before: datetime, go_on: GoOn) -> int:
    """Removes the events of runs that ended before the date, up to the first that an unfinished run needs."""
    removed, runs = 0, OldRuns(tenant_id=tenant.pk, before=before)
    for stream_id, through in runs:
        if not go_on():
            return removed
        removed += counted_events_remove(stream_id=stream_id, through=through, go_on=go_on)
    if go_on():
        runs.save()
    return removed


def _ledger_remove(tenant: Tenant, before: datetime, go_on: GoOn) -> int:
    return ledger_remove(tenant_id=tenant.pk, before=before, go_on=go_on)


def _audit_remove(tenant: Tenant, before: datetime, go_on: GoOn) -> int:
    return audit_remove(tenant_id=tenant.pk, before=before, go_on=go_on)


def _gateway_audit_remove(go_on: GoOn) -> int:
    """Removes old entries about the whole gateway, which belong to no tenant."""
    days = settings.GATEWAY_RETENTION_AUDIT_DAYS
    return audit_remove(tenant_id=None, before=clock.now() - timedelta(days=days), go_on=go_on) if days > 0 else 0
