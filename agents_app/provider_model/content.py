"""The user's content as chat parts: texts, images, files and audio, by data or by address.

Addresses that a wire does not take are fetched by the library's own download, which refuses private addresses and large
files. Text files are sent as text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    CachePoint,
    DocumentUrl,
    ImageUrl,
    ModelMessage,
    ModelRequest,
    TextContent,
    UserContent,
    UserPromptPart,
)
from pydantic_ai.models import Model, download_item

from agents_app.provider_model.profiles import Profile
from inference_app.catalogue.config import Wire
from inference_app.conversion.stored_conversation import UNSUPPORTED

Json = dict[str, Any]

_AUDIO = ("wav", "mp3")
_TEXT_TYPES = frozenset({"application/json", "application/xml", "application/yaml", "application/x-yaml"})


async def fetch_addresses(messages: Sequence[ModelMessage], profile: Profile, wire: Wire) -> list[ModelMessage]:
    """Returns the messages with the data of each address that the wire does not take. It is the longest wait before a
    request, so the same list comes back where there is none."""
    fetched: list[ModelMessage] = []
    for message in messages:
        if isinstance(message, ModelRequest) and any(map(_has_files, message.parts)):
            parts = [
                await _fetched(part, profile, wire) if isinstance(part, UserPromptPart) else part
                for part in message.parts
            ]
            message = replace(message, parts=parts)
        fetched.append(message)
    return fetched


def data_bytes(messages: Sequence[ModelMessage]) -> int:
    """Returns the bytes of the files in the messages."""
    return sum(
        len(item.data)
        for message in messages
        for part in message.parts
        if isinstance(part, UserPromptPart) and not isinstance(part.content, str)
        for item in part.content
        if isinstance(item, BinaryContent)
    )


def _has_files(part: Any) -> bool:
    return (
        isinstance(part, UserPromptPart)
        and not isinstance(part.content, str)
        and any(isinstance(item, DocumentUrl | AudioUrl) for item in part.content)
    )


async def _fetched(part: UserPromptPart, profile: Profile, wire: Wire) -> UserPromptPart:
    if isinstance(part.content, str):
        return part
    return replace(part, content=[await _fetch(item, profile, wire) for item in part.content])


async def _fetch(item: UserContent, profile: Profile, wire: Wire) -> UserContent:
    if not isinstance(item, DocumentUrl | AudioUrl) or (
        isinstance(item, DocumentUrl) and _takes_address(item, profile, wire)
    ):
        return item
    found = await download_item(item, data_format="bytes", type_format="mime")
    return BinaryContent(data=found["data"], media_type=item.media_type)


def _takes_address(item: DocumentUrl, profile: Profile, wire: Wire) -> bool:
    if is_text(item.media_type):
        return wire == "openai-responses"
    if wire == "openai-chat":
        return bool(profile.get("openai_chat_supports_file_urls", False))
    return wire == "openai-responses" or item.media_type == "application/pdf"


def is_text(media_type: str) -> bool:
    """True for files that are sent as text."""
    return media_type.startswith("text/") or media_type in _TEXT_TYPES or media_type.endswith(("+json", "+xml"))


def chat_content(model: Model, profile: Profile, wire: Wire, content: str | Sequence[UserContent]) -> str | list[Json]:
    """Returns a user's content. A medium that chat cannot express is a part of the type `unsupported`."""
    if isinstance(content, str):
        return content
    parts = (_part(model, profile, wire, item) for item in content)
    return [part for part in parts if part is not None]


def _part(model: Model, profile: Profile, wire: Wire, item: UserContent) -> Json | None:
    if isinstance(item, str):
        return {"type": "text", "text": item}
    if isinstance(item, TextContent):
        return {"type": "text", "text": item.content}
    if isinstance(item, ImageUrl):
        return {"type": "image_url", "image_url": {"url": item.url}}
    if isinstance(item, DocumentUrl):
        name: Literal["file_data", "file_url"] = "file_data" if wire == "openai-chat" else "file_url"
        return {"type": "file", "file": {name: item.url, "filename": f"filename.{item.format}"}}
    if isinstance(item, BinaryContent):
        return _data(model, profile, wire, item)
    if isinstance(item, CachePoint):
        return None
    return _unsupported(f"{type(item).__name__} cannot be sent.")


def _unsupported(sentence: str) -> Json:
    return {"type": UNSUPPORTED, "text": sentence}


def _data(model: Model, profile: Profile, wire: Wire, item: BinaryContent) -> Json:
    if is_text(item.media_type):
        text = item.data.decode("utf-8", "replace")
        named = model._format_inlined_text_file(text, media_type=item.media_type, identifier=item.identifier)
        return {"type": "text", "text": named}
    if item.is_image:
        return {"type": "image_url", "image_url": {"url": item.data_uri}}
    if item.is_audio:
        if item.format not in _AUDIO:
            return _unsupported(f"Audio of the type {item.media_type} cannot be sent.")
        in_address = profile.get("openai_chat_audio_input_encoding", "base64") == "uri"
        data = item.data_uri if in_address else item.base64
        return {"type": "input_audio", "input_audio": {"data": data, "format": item.format}}
    if not item.is_document:
        return _unsupported(f"Files of the type {item.media_type} cannot be sent.")
    if wire == "openai-chat" and not profile.get("openai_chat_supports_document_input", True):
        return _unsupported("The provider takes no documents.")
    return {"type": "file", "file": {"file_data": item.data_uri, "filename": f"filename.{item.format}"}}
