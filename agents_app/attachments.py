"""Attachments of the conversation. Their bytes are read for one model request and released after its response.

In the messages, a `StoredContent` represents each attachment. One request carries the newest attachments, up to
GATEWAY_MAX_ATTACHMENT_BYTES; older ones are replaced by a sentence. All requests of the process together hold at most
GATEWAY_ATTACHMENT_MEMORY_BYTES; further requests wait.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from django.conf import settings
from pydantic_ai.messages import BinaryContent, ModelMessage, ModelRequest, UserContent, UserPromptPart
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.settings import ModelSettings

from agents_app.engine import Attachment, Leg
from core_app.lifecycle import process_wide
from core_app.memory_budget import MemoryBudget, return_large_blocks

MEMORY = process_wide(MemoryBudget(lambda: settings.GATEWAY_ATTACHMENT_MEMORY_BYTES))
"""Process-wide memory budget of attachments in model requests. Its owners are tenants."""


class StoredContent(BinaryContent):
    """Placeholder for an attachment whose bytes are read when it is sent."""

    def __init__(self, attachment: Attachment) -> None:
        super().__init__(data=b"", media_type=attachment.media_type)
        self.attachment = attachment


class Attachments:
    """The attachments of one leg."""

    def __init__(self, leg: Leg) -> None:
        self._leg = leg
        self._read: dict[int, bytes] = {}

    @asynccontextmanager
    async def read(self, messages: Sequence[ModelMessage]) -> AsyncIterator[None]:
        """Holds the bytes that a request with these messages carries, for the duration of the block."""
        wanted = _newest_within(messages, settings.GATEWAY_MAX_ATTACHMENT_BYTES)
        if not wanted:
            yield
            return
        return_large_blocks()
        async with MEMORY.reserve(sum(part.size for part in wanted), owner=self._leg.session.tenant_id):
            try:
                for part in wanted:
                    if part.stored is not None and (data := await self._leg.read_attachment(part)) is not None:
                        self._read[part.stored] = data
                yield
            finally:
                self._read.clear()

    def wrap_model(self, model: Model) -> Model:
        """Returns a model that inserts the attachments into its requests. A tool's result may bring some later."""
        return _ModelWithAttachments(model, self)

    def insert_into(self, messages: Sequence[ModelMessage]) -> list[ModelMessage]:
        """Returns the messages with the bytes that `read` holds."""
        return [self._fill_request(message) if isinstance(message, ModelRequest) else message for message in messages]

    def _fill_request(self, message: ModelRequest) -> ModelRequest:
        if next(_stored_attachments([message]), None) is None:
            return message
        parts = [self._fill_part(part) if isinstance(part, UserPromptPart) else part for part in message.parts]
        return replace(message, parts=parts)

    def _fill_part(self, part: UserPromptPart) -> UserPromptPart:
        if isinstance(part.content, str):
            return part
        return replace(part, content=[self._fill_content(item) for item in part.content])

    def _fill_content(self, item: UserContent) -> UserContent:
        if not isinstance(item, StoredContent):
            return item
        attachment = item.attachment
        data = self._read.get(attachment.stored) if attachment.stored is not None else None
        if data is None:
            return f"[The {attachment.kind} {attachment.name or attachment.media_type} is not sent again.]"
        return BinaryContent(data=data, media_type=attachment.media_type)


class _ModelWithAttachments(WrapperModel):
    """A model whose requests contain the bytes of the attachments."""

    def __init__(self, wrapped: Model, attachments: Attachments) -> None:
        super().__init__(wrapped)
        self._attachments = attachments

    @asynccontextmanager
    async def request_stream(
        self,
        messages: list[ModelMessage],
        model_settings: ModelSettings | None,
        model_request_parameters: ModelRequestParameters,
        run_context: Any = None,
    ) -> AsyncIterator[StreamedResponse]:
        async with self.wrapped.request_stream(
            self._attachments.insert_into(messages), model_settings, model_request_parameters, run_context
        ) as stream:
            yield stream


def _newest_within(messages: Sequence[ModelMessage], limit: int) -> list[Attachment]:
    """Returns the newest attachments that fit the limit together, stopping at the first that does not."""
    wanted: list[Attachment] = []
    for part in _stored_attachments(messages):
        limit -= part.size
        if limit < 0:
            break
        wanted.append(part)
    return wanted


def _stored_attachments(messages: Sequence[ModelMessage]) -> Iterator[Attachment]:
    """Yields the stored attachments of the messages, newest first."""
    for message in reversed(messages):
        for part in reversed(message.parts):
            if isinstance(part, UserPromptPart) and not isinstance(part.content, str):
                yield from (item.attachment for item in reversed(part.content) if isinstance(item, StoredContent))
