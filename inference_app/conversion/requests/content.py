"""Chat's message content, built from parts: a plain string if all parts are text.

Many chat providers accept no list of parts, or none from the system, the assistant and tools, so texts are joined. The
separator is a blank line, because clients put whole paragraphs into their parts. Tool results can only be text in
chat, so their images and files move to a user message after them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference_app.conversion.requests.media import normal_url
from inference_app.conversion.validation import Json

PARAGRAPH = "\n\n"


def text_part(text: str) -> Json:
    """Returns a text part."""
    return {"type": "text", "text": text}


def image_part(url: str, detail: Any = None) -> Json:
    """Returns an image part with a web address or a data URL."""
    return {"type": "image_url", "image_url": {"url": normal_url(url), **({"detail": detail} if detail else {})}}


def file_part(**fields: str) -> Json:
    """Returns a file part. One with a `file_url`, which chat cannot express, has the client's `path` of it."""
    return {"type": "file", "file": fields}


def content_of(parts: Sequence[Json]) -> str | list[Json]:
    """Returns the `content` of a message with these parts."""
    return text_of(parts) if all(part["type"] == "text" for part in parts) else list(parts)


def text_of(parts: Sequence[Json]) -> str:
    """Returns the joined text of the parts."""
    return PARAGRAPH.join(part["text"] for part in parts if part["type"] == "text")


def media_of(parts: Sequence[Json]) -> list[Json]:
    """Returns the parts that are not text."""
    return [part for part in parts if part["type"] != "text"]


def tool_message(call_id: str, parts: Sequence[Json]) -> Json:
    """Returns the message of a tool result."""
    return {"role": "tool", "tool_call_id": call_id, "content": text_of(parts)}


def tool_media_parts(call_id: str, media: Sequence[Json]) -> list[Json]:
    """Returns the user's parts with the images and files of a tool result."""
    return [text_part(f"The tool call {call_id} gave back:"), *media] if media else []
