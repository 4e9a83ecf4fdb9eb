"""Attachments and their contents.

A content is stored once, and each attachment that has it refers to it: a fork of eighty megabytes copies references.
Contents are counted by these references. The last attachment takes its content along in the same transaction, so an
erasure leaves no bytes behind, and a backup has neither a reference without a content nor the reverse.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from django.db import connection
from django.db.models import Q, QuerySet

from agents_app.engine import Attachment
from core_app import clock
from core_app.database import write_transaction
from events_app.removal import GoOn
from sessions_app.models import AttachmentContent, Message, PromptAttachment, Run
from tools_app.types import Media

BATCH = 100
"""Number of attachments that are deleted in a transaction."""


def attachments_store(*, run: Run, parts: Sequence[Attachment]) -> None:
    """Stores the attachments of a prompt, in the caller's transaction."""
    PromptAttachment.objects.bulk_create(
        PromptAttachment(
            run=run,
            position=position,
            kind=part.kind,
            media_type=part.media_type,
            name=part.name,
            content=content_store(part.data) if part.data is not None else None,
            url=part.url,
        )
        for position, part in enumerate(parts)
    )


def media_store(*, message: Message, media: Sequence[Media]) -> None:
    """Stores the images, sounds and files of a tool's result as attachments of its message, in the caller's
    transaction."""
    PromptAttachment.objects.bulk_create(
        PromptAttachment(
            message=message,
            position=position,
            kind=part.kind,
            media_type=part.media_type,
            content=content_store(part.data),
        )
        for position, part in enumerate(media)
    )


def content_store(data: bytes) -> AttachmentContent:
    """Stores a content, in the caller's transaction, which also makes its attachment."""
    return AttachmentContent.objects.create(data=data, size=len(data))


def attachments_copy(copies: Mapping[str, Message]) -> None:
    """Gives the copies of messages (by the ids of their originals) the same attachments, with the same contents."""
    found = list(
        PromptAttachment.objects.filter(message__in=list(copies)).defer("data").order_by("message", "position")
    )
    for part in found:
        if part.content_id is None and part.url is None:
            part.content_id = _content_of_row(part.pk)
    PromptAttachment.objects.bulk_create(
        PromptAttachment(
            message=copies[part.message_id],
            position=part.position,
            kind=part.kind,
            media_type=part.media_type,
            name=part.name,
            content_id=part.content_id,
            url=part.url,
        )
        for part in found
        if part.message_id is not None
    )


def _content_of_row(pk: int) -> int | None:
    """Moves the bytes of a row of the version before, which are in the row itself, into a content. They do not leave
    the database."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO sessions_app_attachmentcontent (data, size, created_at)"
            " SELECT data, length(data), %s FROM sessions_app_promptattachment WHERE id = %s AND data IS NOT NULL"
            " RETURNING id",
            [connection.ops.adapt_datetimefield_value(clock.now()), pk],
        )
        row = cursor.fetchone()
    if row is None:
        return None
    PromptAttachment.objects.filter(pk=pk).update(content=row[0], data=None)
    content_id: int = row[0]
    return content_id


def attachments_delete(rows: QuerySet[PromptAttachment]) -> None:
    """Deletes attachments, and the contents that no other attachment has, in the caller's transaction."""
    keys = dict(rows.values_list("pk", "content_id"))
    PromptAttachment.objects.filter(pk__in=list(keys))._raw_delete(connection.alias)
    contents_release({content_id for content_id in keys.values() if content_id is not None})


def attachments_remove(where: Q, go_on: GoOn = lambda: True) -> None:
    """Deletes the selected attachments and their contents in batches; few at a time, since each may have twenty
    megabytes."""
    rows = PromptAttachment.objects.filter(where)
    while (keys := list(rows.values_list("pk", flat=True)[:BATCH])) and go_on():
        with write_transaction():
            attachments_delete(PromptAttachment.objects.filter(pk__in=keys))


def contents_release(content_ids: Collection[int]) -> None:
    """Deletes those of the contents that no attachment has any more.

    They are locked first and looked at in a second statement: a fork whose reference is not committed yet either comes
    before, and is seen, or finds no content and fails.
    """
    if not content_ids:
        return
    contents = AttachmentContent.objects.filter(pk__in=content_ids)
    if connection.vendor == "postgresql":
        list(contents.order_by("pk").select_for_update().values_list("pk", flat=True))
    contents.filter(attachments__isnull=True)._raw_delete(connection.alias)
