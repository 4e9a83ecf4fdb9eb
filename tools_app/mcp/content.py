"""Results of MCP tools as the model reads them: text, embedded texts, links and structured content as text, images and
audio as such.

What a server sends is hostile: data that cannot be decoded, or is too large, costs its block and is said in the text.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from django.conf import settings

from core_app import jsontext
from core_app.errors import BadRequest
from tools_app.types import Media, Outcome

MAX_MEDIA = 16
"""Images and sounds of one result."""

_IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
_TEXT_TYPES = frozenset({"application/json", "application/xml", "application/yaml", "image/svg+xml"})


def outcome_of(result: Any) -> Outcome:
    """Returns the outcome of a call from the library's result."""
    return _ResultReader().read(result)


class _ResultReader:
    """Reads one result."""

    def __init__(self) -> None:
        self._media: list[Media] = []
        self._left = settings.GATEWAY_MAX_ATTACHMENT_BYTES

    def read(self, result: Any) -> Outcome:
        texts = [self._block(block) for block in result.content]
        if result.structured_content is not None and not _repeats(texts, result.structured_content):
            texts.append(_encoded(result.structured_content))
        text = jsontext.clean_text("\n".join(part for part in texts if part))
        status = "error" if result.is_error else "ok"
        return Outcome(status, text or "(no output)", tuple(self._media))  # type: ignore[arg-type]  # one of the two

    def _block(self, block: Any) -> str:
        readers: Mapping[str, Callable[[Any], str]] = {
            "text": lambda found: str(found.text),
            "image": lambda found: self._binary(found.data, found.mime_type, "image"),
            "audio": lambda found: self._binary(found.data, found.mime_type, "audio"),
            "resource": lambda found: self._resource(found.resource),
            "resource_link": _link,
        }
        return readers[block.type](block)

    def _resource(self, resource: Any) -> str:
        name, media_type = f"resource {resource.uri}", resource.mime_type or ""
        text = getattr(resource, "text", None)
        if text is not None:
            return f"[{name}]\n{text}"
        return self._binary(resource.blob, media_type, name)

    def _binary(self, encoded: str, media_type: str, name: str) -> str:
        kind = media_type.partition(";")[0].strip().lower()
        label = f"{name} ({kind or 'of no type'})"
        try:
            data = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            return f"[{label}: its data is not base64]"
        if kind.startswith("text/") or kind in _TEXT_TYPES:
            return f"[{label}]\n{data.decode('utf-8', 'replace')}"
        media_kind = _media_kind(kind)
        if media_kind is None:
            return f"[{label}: {len(data)} bytes that cannot be shown]"
        if len(self._media) >= MAX_MEDIA or len(data) > self._left:
            return f"[{label}: {len(data)} bytes, left out because the result has too many]"
        self._left -= len(data)
        self._media.append(Media(media_kind, kind, data))
        return f"[{label}: attached]"


def _media_kind(media_type: str) -> Any:
    if media_type in _IMAGES:
        return "image"
    if media_type.startswith("audio/") and len(media_type) <= 100:
        return "audio"
    return "file" if media_type == "application/pdf" else None


def _link(link: Any) -> str:
    about = [link.title or link.name, f"<{link.uri}>", f"({link.mime_type})" if link.mime_type else ""]
    described = f": {link.description}" if link.description else ""
    return f"[link] {' '.join(part for part in about if part)}{described}"


def _encoded(value: Any) -> str:
    try:
        return jsontext.encode_text(value)
    except BadRequest:
        return "[structured content that is nested too deep]"


def _repeats(texts: Sequence[str], structured: Any) -> bool:
    """True if the texts say what the structured content says: servers send both for older clients, and wrap what is no
    object as `{"result": …}`."""
    said = [_decoded(text) for text in texts]
    wanted = [structured]
    if isinstance(structured, dict) and list(structured) == ["result"]:
        wanted.append(structured["result"])
    return any(value in said or value in texts or value in (said, list(texts)) for value in wanted)


def _decoded(text: str) -> Any:
    """The JSON value of a text; the text itself if it is none."""
    try:
        return jsontext.decode_untrusted(text.encode("utf-8", "replace"))
    except BadRequest:
        return text
