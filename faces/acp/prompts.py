"""Prompts of editors as the gateway's: texts, links and embedded files as text, images and sounds as attachments."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from acp import schema
from django.conf import settings

from agents_app.engine import Attachment
from core_app.errors import BadRequest
from sessions_app.services.prompt import Prompt


def prompt_of(blocks: Sequence[Any]) -> Prompt:
    """Returns the prompt. Raises BadRequest for one without text, or with content that is no base64 or too large."""
    texts: list[str] = []
    attachments: list[Attachment] = []
    for block in blocks:
        if isinstance(block, schema.TextContentBlock):
            texts.append(block.text)
        elif isinstance(block, schema.ResourceContentBlock):
            texts.append(f"[{block.name}]({block.uri})")
        elif isinstance(block, schema.ImageContentBlock | schema.AudioContentBlock):
            attachments.append(Attachment(block.type, block.mime_type, data=_bytes(block.data)))
        elif isinstance(block, schema.EmbeddedResourceContentBlock):
            _embed(block.resource, texts, attachments)
    text = "\n\n".join(part for part in texts if part.strip())
    if not text:
        raise BadRequest("prompt needs a text.", field="prompt")
    if sum(len(one.data or b"") for one in attachments) > settings.GATEWAY_MAX_ATTACHMENT_BYTES:
        limit = settings.GATEWAY_MAX_ATTACHMENT_BYTES
        raise BadRequest(f"Attachments have at most {limit} bytes (GATEWAY_MAX_ATTACHMENT_BYTES).", field="prompt")
    return Prompt(text=text, attachments=tuple(attachments), when_busy="enqueue")


def _embed(resource: Any, texts: list[str], attachments: list[Attachment]) -> None:
    if isinstance(resource, schema.TextResourceContents):
        texts.append(f"{resource.uri}:\n```\n{resource.text}\n```")
    else:
        kind = resource.mime_type or "application/octet-stream"
        attachments.append(Attachment("file", kind, resource.uri.rpartition("/")[2] or None, _bytes(resource.blob)))


def _bytes(data: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise BadRequest("data of a content block is not base64.", field="prompt") from None
