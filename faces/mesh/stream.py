"""The tenant's mesh stream: found or made, locked, and appended to.

Its lock is also the lock of the tenant's tasks: whatever changes a task holds it. The order of locks is: sessions'
streams in the order of their ids, then this one, then rows of spaces. A session's first prompt takes this lock too
when the session's stream is counted here, so whoever makes a session for a task takes it first.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import IntegrityError, transaction

from core_app.database import write_transaction
from events_app import log
from events_app.types import Event
from faces.mesh.models import MeshStream


def mesh_stream(tenant_id: int) -> int:
    """Returns the id of the tenant's stream, which is made when it is first needed."""
    found = MeshStream.objects.filter(tenant_id=tenant_id).values_list("stream_id", flat=True).first()
    if found is not None:
        return found
    try:
        with write_transaction(), transaction.atomic():
            return MeshStream.objects.create(tenant_id=tenant_id, stream=log.stream_create(kind="mesh")).stream_id
    except IntegrityError:
        return MeshStream.objects.values_list("stream_id", flat=True).get(tenant_id=tenant_id)


def mesh_lock(tenant_id: int) -> int:
    """Locks the tenant's stream, and with it the tenant's tasks, until the transaction ends; returns its id."""
    stream_id = mesh_stream(tenant_id)
    log.lock(stream_id)
    return stream_id


def mesh_append(tenant_id: int, events: Sequence[Event]) -> None:
    """Appends events to the tenant's stream in the caller's transaction."""
    log.append(mesh_stream(tenant_id), events)
