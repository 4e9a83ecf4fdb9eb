"""Removal of groups without sessions and events, together with their streams.

A session may join a group while it is being removed. Joining therefore locks the group's row, and the removal checks
the group again under that lock.
"""

from __future__ import annotations

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from core_app.database import write_transaction
from events_app.positions import stream_events
from events_app.removal import GoOn, streams_remove
from sessions_app.models import AgentSession, SessionGroup
from tenants_app.models import Tenant

_LOCK_SQL = "SELECT 1 FROM sessions_app_sessiongroup WHERE id = %s {share}"


def group_lock(group_id: int) -> bool:
    """Locks the group against removal until the caller's transaction ends. The lock is shared. False when the group
    has been removed."""
    # On SQLite no other transaction writes meanwhile.
    share = "FOR KEY SHARE" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(_LOCK_SQL.format(share=share), [group_id])
        return cursor.fetchone() is not None


def groups_remove(tenant: Tenant, *, go_on: GoOn = lambda: True) -> int:
    """Removes the tenant's groups that have neither sessions nor events. Returns their number."""
    removed = 0
    for group_id in list(_without_content(SessionGroup.objects.filter(tenant=tenant)).values_list("pk", flat=True)):
        if not go_on():
            break
        removed += _remove(group_id)
    return removed


def _remove(group_id: int) -> int:
    with write_transaction():
        # The lock comes first, so that the second statement sees sessions that joined before.
        group = SessionGroup.objects.select_for_update().filter(pk=group_id).first()
        if group is None or not _without_content(SessionGroup.objects.filter(pk=group_id)).exists():
            return 0
        group.delete()
        streams_remove(stream_ids=[group.stream_id])
    return 1


def _without_content(groups: QuerySet[SessionGroup]) -> QuerySet[SessionGroup]:
    inside = AgentSession.objects.filter(tenant_id=OuterRef("tenant_id"), group_id=OuterRef("pk"))
    counted = stream_events(OuterRef("stream_id"))
    return groups.exclude(Exists(inside)).exclude(Exists(counted))
