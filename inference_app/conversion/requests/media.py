"""Inline media: data URLs in the spellings in use, and the media types that providers know.

Clients write `image/jpg`, parameters (`data:image/png;name=a.png;base64,…`), no type at all, or percent-encoded text;
providers take base64 with one of a few types. Where the data itself tells an image's type, that counts, because
providers compare both.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

_DATA_URL = re.compile(r"data:([^;,]*)((?:;[^;,]*)*),", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
_ALIASES = {
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/jfif": "image/jpeg",
    "image/x-png": "image/png",
    "application/x-pdf": "application/pdf",
}
_MAGIC = (
    ("iVBORw0KGgo", "image/png"),
    ("/9j/", "image/jpeg"),
    ("R0lGOD", "image/gif"),
    ("UklGR", "image/webp"),
    ("JVBERi", "application/pdf"),
)
"""Beginnings of base64 data; WebP shares its with other RIFF files, which nobody sends as an image."""

_TEXT_TYPES = ("application/json", "application/xml", "application/yaml", "application/javascript", "application/sql")
_HEAD = 512


@dataclass(frozen=True, slots=True)
class InlineData:
    """Media with its type and its base64 data."""

    media_type: str
    data: str

    @property
    def url(self) -> str:
        return f"data:{self.media_type};base64,{self.data}"

    @property
    def text(self) -> str | None:
        """The text of a document in plain text of any kind; None for other types, and for data that is no UTF-8."""
        if not (self.media_type.startswith("text/") or self.media_type in _TEXT_TYPES):
            return None
        try:
            return base64.b64decode(self.data + "=" * (-len(self.data) % 4)).decode()
        except (binascii.Error, ValueError):
            return None


def normal_type(media_type: str) -> str:
    """Returns a media type without parameters, in its usual spelling."""
    plain = media_type.partition(";")[0].strip().lower()
    return _ALIASES.get(plain, plain)


def inline_data(media_type: str, data: str) -> InlineData:
    """Returns base64 data with its true type."""
    head = data[:_HEAD]
    if _SPACE.search(head):
        data = _SPACE.sub("", data)
    declared = normal_type(media_type)
    if declared.startswith("image/") or declared in ("", "application/octet-stream"):
        declared = next((known for magic, known in _MAGIC if data.startswith(magic)), declared)
    return InlineData(declared, data)


def parse_data_url(url: str) -> InlineData | None:
    """Returns the data of a data URL; None for another address."""
    found = _DATA_URL.match(url)
    if found is None:
        return None
    media_type, parameters = found.groups()
    rest = url[found.end() :]
    if parameters.lower().endswith(";base64"):
        return inline_data(
            media_type, unquote_to_bytes(rest).decode("ascii", "replace") if "%" in rest[:_HEAD] else rest
        )
    return inline_data(media_type or "text/plain", base64.b64encode(unquote_to_bytes(rest)).decode())


def normal_url(url: str) -> str:
    """Returns a data URL in the spelling that every provider takes; another address unchanged."""
    data = parse_data_url(url) if url[:5].lower() == "data:" else None
    return url if data is None else data.url
