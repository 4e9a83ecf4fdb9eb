"""Messages of spaces as rows: the one place that adds them, for clients and for tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import F

from core_app import clock, jsontext
from core_app.ids import new_id
from events_app.types import Event
from faces.mesh.events import ContextUpdated
from faces.mesh.models import Space, SpaceMessage
from faces.mesh.search_index import entry_add


def space_record(
    space_pk: int, *, role: str, content: str, body: Mapping[str, Any], public_id: str | None = None
) -> list[Event]:
    """Adds a message to a space, if it still exists; returns the event of it, which the caller appends."""
    space = Space.objects.select_for_update().filter(pk=space_pk).first()
    if space is None:
        return []
    message = message_insert(space, role=role, content=content, body=body, public_id=public_id)
    return [ContextUpdated(space_id=space.public_id, change="message", message_id=message.public_id)]


def message_insert(
    space: Space, *, role: str, content: str, body: Mapping[str, Any], public_id: str | None = None
) -> SpaceMessage:
    """Adds a message to the space, whose row the caller has locked."""
    text = jsontext.encode_text(body)
    moment = clock.now()
    message = SpaceMessage.objects.create(
        space=space,
        number=space.next_number,
        public_id=public_id or new_id("msg"),
        role=role,
        content=content,
        body=text,
        created_at=moment,
    )
    Space.objects.filter(pk=space.pk).update(
        next_number=F("next_number") + 1,
        message_count=F("message_count") + 1,
        bytes=F("bytes") + len(content.encode()) + len(text.encode()),
        updated_at=moment,
    )
    entry_add(space_pk=space.pk, text=content, message=message)
    return message
