"""Deadlines, retention and erasure of tasks and spaces."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import QuerySet

from core_app import clock
from core_app.database import write_transaction
from events_app.removal import GoOn, events_remove, streams_empty
from faces.mesh.artifacts import file_delete, files_clean
from faces.mesh.end_users import ends_remove, task_messages_remove, tasks_of_end_user
from faces.mesh.errors import CANCELLED
from faces.mesh.models import (
    UNFINISHED,
    Artifact,
    MeshStream,
    RoutingRule,
    SearchEntry,
    Space,
    SpaceMessage,
    StoredFile,
    Task,
    TaskRun,
)
from faces.mesh.stream_age import offset_before
from faces.mesh.task_stop import task_stop, tasks_reconcile, tasks_time_out
from sessions_app.dependents import Dependent
from sessions_app.services.retention import retention_days
from tenants_app.models import Tenant

BATCH = 500

EVENT_DAYS = 7
"""Days for which a tenant's live events are kept at most, for followers that come back."""


class MeshDependent(Dependent):
    """The part that this face's data takes in the sweep, in retention and in erasure."""

    def sweep(self, go_on: GoOn) -> None:
        """Ends overdue tasks, those whose runs are gone, and forgotten files."""
        tasks_time_out(go_on)
        tasks_reconcile(go_on)
        files_clean(go_on)

    def retention_apply(self, tenant: Tenant, go_on: GoOn) -> None:
        """Removes ended tasks and spaces that are older than sessions are kept, and old events."""
        moment = clock.now()
        if (days := retention_days(tenant, "sessions")) > 0:
            before = moment - timedelta(days=days)
            old = Task.objects.filter(tenant=tenant, updated_at__lt=before).exclude(status__in=UNFINISHED)
            _tasks_remove(old, go_on)
            busy = Task.objects.filter(tenant=tenant, status__in=UNFINISHED, space__isnull=False).values("space_id")
            _spaces_remove(Space.objects.filter(tenant=tenant, updated_at__lt=before).exclude(pk__in=busy), go_on)
        days = min(retention_days(tenant, "events") or EVENT_DAYS, EVENT_DAYS)
        _events_remove(tenant, moment - timedelta(days=days), go_on)

    def end_user_erase(self, tenant_id: int, end_user: str) -> None:
        """Cancels and removes the tasks that were submitted for the end user, with their messages in spaces and their
        live events. Spaces stay, because a tenant's users share them."""
        tasks = tasks_of_end_user(tenant_id, end_user)
        for task in tasks:
            task_stop(task, code=CANCELLED, message="The end user was erased.")
        for task in tasks:
            if task.space_id is not None:
                task_messages_remove(task.space_id, task.public_id)
        for stream_id in MeshStream.objects.filter(tenant_id=tenant_id).values_list("stream_id", flat=True):
            ends_remove(stream_id, {task.public_id for task in tasks})
        _tasks_remove(Task.objects.filter(pk__in=[task.pk for task in tasks]))

    def tenant_erase(self, tenant: Tenant) -> None:
        """Cancels and removes the tenant's tasks, spaces, files and rules. The empty stream stays for its followers."""
        for task in Task.objects.filter(tenant=tenant, status__in=UNFINISHED):
            task_stop(task, code=CANCELLED, message="The tenant was erased.")
        _tasks_remove(Task.objects.filter(tenant=tenant))
        _spaces_remove(Space.objects.filter(tenant=tenant))
        for stored in StoredFile.objects.filter(tenant=tenant, in_use=False):
            file_delete(stored)
        RoutingRule.objects.filter(tenant=tenant).delete()
        for stream_id in MeshStream.objects.filter(tenant=tenant).values_list("stream_id", flat=True):
            streams_empty(stream_ids=[stream_id])


def space_remove(space: Space, go_on: GoOn = lambda: True) -> bool:
    """Removes a space with its messages and files; False when `go_on` ended it before. May be repeated."""
    while keys := list(SearchEntry.objects.filter(space=space).values_list("pk", flat=True)[:BATCH]):
        if not go_on():
            return False
        with write_transaction():
            SearchEntry.objects.filter(pk__in=keys).delete()
    while keys := list(SpaceMessage.objects.filter(space=space).values_list("pk", flat=True)[:BATCH]):
        if not go_on():
            return False
        with write_transaction():
            SpaceMessage.objects.filter(pk__in=keys).delete()
    for artifact in Artifact.objects.select_related("file").filter(space=space):
        if not go_on():
            return False
        with write_transaction():
            Artifact.objects.filter(pk=artifact.pk).delete()
            StoredFile.objects.filter(pk=artifact.file_id).update(in_use=False)
        file_delete(artifact.file)
    with write_transaction():
        Task.objects.filter(space=space).update(space=None)
        Space.objects.filter(pk=space.pk).delete()
    return True


def _spaces_remove(spaces: QuerySet[Space], go_on: GoOn = lambda: True) -> None:
    for space in list(spaces):
        if not space_remove(space, go_on):
            return


def _tasks_remove(tasks: QuerySet[Task], go_on: GoOn = lambda: True) -> None:
    while (keys := list(tasks.values_list("pk", flat=True)[:BATCH])) and go_on():
        with write_transaction():
            TaskRun.objects.filter(task__in=keys).delete()
            Task.objects.filter(pk__in=keys).delete()


def _events_remove(tenant: Tenant, before: datetime, go_on: GoOn) -> None:
    stream_id = MeshStream.objects.filter(tenant=tenant).values_list("stream_id", flat=True).first()
    if stream_id is not None and (through := offset_before(stream_id, before)):
        events_remove(stream_id=stream_id, through=through, go_on=go_on)
