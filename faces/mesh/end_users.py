"""The tasks that were submitted for one end user, and what they left in spaces and live events.

The end user is the one whom the caller's token names. Messages and files that clients add to a space themselves belong
to the space.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import F

from core_app import jsontext
from core_app.database import write_transaction
from events_app.removal import chosen_events_remove
from faces.mesh.events import TaskCompleted, TaskFailed
from faces.mesh.models import SearchEntry, Space, SpaceMessage, Task

_ENDS = (TaskCompleted.type, TaskFailed.type)
"""Events with what agents said."""


def tasks_of_end_user(tenant_id: int, end_user: str) -> list[Task]:
    """Returns the end user's tasks, oldest first. Costs a scan of the tenant's tasks."""
    likely = Task.objects.filter(tenant_id=tenant_id, caller__contains=f'"end_user":{jsontext.encode_text(end_user)}')
    return [task for task in likely.order_by("pk") if jsontext.decode(task.caller).get("end_user") == end_user]


def task_messages_remove(space_pk: int, task_id: str) -> None:
    """Removes the messages of a task, its text and its result, from a space."""
    marked = SpaceMessage.objects.filter(space=space_pk, body__contains=f'"task_id":{jsontext.encode_text(task_id)}')
    keys = [message.pk for message in marked if jsontext.decode(message.body).get("task_id") == task_id]
    with write_transaction():
        if Space.objects.select_for_update().filter(pk=space_pk).first() is None:
            return
        for message in SpaceMessage.objects.filter(pk__in=keys):
            size = len(message.content.encode()) + len(message.body.encode())
            SearchEntry.objects.filter(message=message).delete()
            message.delete()
            Space.objects.filter(pk=space_pk).update(message_count=F("message_count") - 1, bytes=F("bytes") - size)


def ends_remove(stream_id: int, task_ids: Collection[str]) -> None:
    """Removes the events of the ends of tasks, which have their results, from a mesh stream."""
    chosen_events_remove(
        stream_id=stream_id, types=_ENDS, chosen=lambda data: jsontext.decode(data).get("task_id") in task_ids
    )
