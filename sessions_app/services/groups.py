"""Groups that nobody is in any more: they go, with their streams, once their logs are empty too.

A session that joins a group and a round that removes it may meet: whoever joins holds the group's row, and the round
looks again once it has it.
"""

from __future__ import annotations

from django.db import connection
from django.db.models import Exists, OuterRef, QuerySet

from core_app.database import write_transaction
from events_app.positions import stream_events
from events_app.removal import GoOn, streams_remove
from sessions_app.models import AgentSession, SessionGroup
from tenants_app.models import Tenant

KEEP = "SELECT 1 FROM sessions_app_sessiongroup WHERE id = %s {share}"


def group_keep(group_id: int) -> bool:
    """Keeps the group until the caller's transaction ends, beside others who do; False when it is gone."""
    # SQLite's transaction is the only one that writes.
    share = "FOR KEY SHARE" if connection.vendor == "postgresql" else ""
    with connection.cursor() as cursor:
        cursor.execute(KEEP.format(share=share), [group_id])
        return cursor.fetchone() is not None


def groups_remove(tenant: Tenant, *, go_on: GoOn = lambda: True) -> int:
    """Removes the tenant's groups without a session and without an event; how many."""
    removed = 0
    for group_id in list(_empty(SessionGroup.objects.filter(tenant=tenant)).values_list("pk", flat=True)):
        if not go_on():
            break
        removed += _remove(group_id)
    return removed


def _remove(group_id: int) -> int:
    with write_transaction():
        # The lock first; a second statement then sees who came before it.
        group = SessionGroup.objects.select_for_update().filter(pk=group_id).first()
        if group is None or not _empty(SessionGroup.objects.filter(pk=group_id)).exists():
            return 0
        group.delete()
        streams_remove(stream_ids=[group.stream_id])
    return 1


def _empty(groups: QuerySet[SessionGroup]) -> QuerySet[SessionGroup]:
    inside = AgentSession.objects.filter(tenant_id=OuterRef("tenant_id"), group_id=OuterRef("pk"))
    counted = stream_events(OuterRef("stream_id"))
    return groups.exclude(Exists(inside)).exclude(Exists(counted))
