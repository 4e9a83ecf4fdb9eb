"""Chat's content, made from parts: plain text where nothing but text is in it.

Many providers that speak chat take no list of parts, or none from the system, the assistant and tools, so texts are
joined: by a blank line, since clients put whole paragraphs in their parts. What a tool gives back beside text goes
into a message of the user that follows, for chat's tools answer in text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from inference_app.conversion.validation import Json

PARAGRAPH = "\n\n"


def text_part(text: str) -> Json:
    """Chat's part of text."""
    return {"type": "text", "text": text}


def image_part(url: str, detail: Any = None) -> Json:
    """Chat's part of an image, by address or as a data URL."""
    return {"type": "image_url", "image_url": {"url": url, **({"detail": detail} if detail else {})}}


def file_part(**fields: str) -> Json:
    """Chat's part of a file."""
    return {"type": "file", "file": fields}


def content_of(parts: Sequence[Json]) -> str | list[Json]:
    """The parts as `content`."""
    return text_of(parts) if all(part["type"] == "text" for part in parts) else list(parts)


def text_of(parts: Sequence[Json]) -> str:
    """The text in the parts."""
    return PARAGRAPH.join(part["text"] for part in parts if part["type"] == "text")


def media_of(parts: Sequence[Json]) -> list[Json]:
    """What in the parts is no text."""
    return [part for part in parts if part["type"] != "text"]


def tool_message(call_id: str, parts: Sequence[Json]) -> Json:
    """A tool's answer."""
    return {"role": "tool", "tool_call_id": call_id, "content": text_of(parts)}


def tool_media_parts(call_id: str, media: Sequence[Json]) -> list[Json]:
    """The user's parts that show what a tool gave back beside text."""
    return [text_part(f"The tool call {call_id} gave back:"), *media] if media else []
