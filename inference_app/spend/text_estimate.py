"""Tokens estimated from the length of JSON, with media as media: base64 is no text.

An image counts as Anthropic's largest, every other medium by its size, as the count of a request does
(`inference_app.conversion.token_estimate`). Places of base64 are found without a look at each character.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

BYTES_PER_TOKEN = 4
MEDIUM_TOKENS = 1600
MEDIUM_BYTES = 100_000
"""Characters of base64 that count as another MEDIUM_TOKENS, for media other than images: about a page of a document."""

LEAST_BYTES = 1024
"""The length from which a text without spaces counts as base64."""

MAX_MEDIA = 20_000
"""Places that are looked at; what follows them counts as text, which is dearer."""

IN_REQUESTS = (b";base64,", b'"data"', b'"file_data"')
"""Beginnings of media in requests: data URLs, and members of Anthropic's sources and of OpenAI's audio and files."""

IN_ANSWERS = (b";base64,", b'"data"', b'"result"', b'b64"', b'"b64_json"')
"""Beginnings of media in responses: images of chunks and items, and audio."""

WINDOW_BYTES = 1024 * 1024
"""The text that is searched in one step, between which other threads get the interpreter."""

_VALUE = re.compile(rb'\s*:\s*"|')
_TEXT = re.compile(rb"[^A-Za-z0-9+/=_\-\\]")
_SAMPLE = 4096
_BEFORE = 200


class Media(NamedTuple):
    """The media in a JSON text: their bytes in it, and the tokens that they count as."""

    bytes: int = 0
    tokens: int = 0


NO_MEDIA = Media()


def media_of(raw: bytes, marks: Sequence[bytes] = IN_REQUESTS) -> Media:
    """Returns the media in a JSON text. A short text has none worth the search."""
    if len(raw) < 4 * LEAST_BYTES:
        return NO_MEDIA
    size = tokens = 0
    for mark in marks:
        for start, end in _values(raw, mark):
            size += end - start
            image = b"image" in raw[max(0, start - _BEFORE) : start] or b"image/" in raw[end : end + _BEFORE]
            tokens += MEDIUM_TOKENS * (1 if image else 1 + (end - start) // MEDIUM_BYTES)
    return Media(size, tokens) if size else NO_MEDIA


def _values(raw: bytes, mark: bytes) -> Iterator[tuple[int, int]]:
    """Yields the places of base64 behind a mark. A data URL is found by its own mark alone."""
    at = 0
    for _ in range(MAX_MEDIA):
        if (found := _find(raw, mark, at)) < 0:
            return
        value = _VALUE.match(raw, found + len(mark))
        assert value is not None
        start = value.end()
        end = raw.find(b'"', start)
        at = len(raw) if end < 0 else max(end, start)
        if at - start >= LEAST_BYTES and not _TEXT.search(raw, start, min(at, start + _SAMPLE)):
            yield start, at


def _find(raw: bytes, mark: bytes, since: int) -> int:
    for start in range(since, len(raw), WINDOW_BYTES):
        if (found := raw.find(mark, start, start + WINDOW_BYTES + len(mark))) >= 0:
            return found
    return -1


def estimated_tokens(size: int, media: Media = NO_MEDIA) -> int:
    """Returns the tokens of a text of `size` bytes that has these media."""
    return (size - media.bytes) // BYTES_PER_TOKEN + media.tokens
