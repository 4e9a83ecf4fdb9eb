"""The size limit of one event: an event is a message to followers, not a store for documents."""

from __future__ import annotations

from typing import Any

from core_app import jsontext

MAX_EVENT_BYTES = 256 * 1024
"""A larger event is truncated, so that no tenant's events slow down the others. The full text is in its message."""

_KEPT_CHARACTERS = 32 * 1024


def truncate_event(encoded: bytes) -> bytes:
    """Returns `encoded`, or, when it is too large, the same object with long values cut and `truncated: true`."""
    if len(encoded) <= MAX_EVENT_BYTES:
        return encoded
    data = jsontext.decode(encoded)
    shortened = jsontext.encode(_shorten(data) | {"truncated": True})
    if len(shortened) <= MAX_EVENT_BYTES:
        return shortened
    return jsontext.encode({key: _cut_value(value) for key, value in data.items()} | {"truncated": True})


def _shorten(value: Any) -> Any:
    """Cuts long texts and keeps the shape, so that a client that reads `lastMessage` finds the object it expects."""
    if isinstance(value, str):
        return value[:_KEPT_CHARACTERS]
    if isinstance(value, dict):
        return {key: _shorten(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shorten(item) for item in value]
    return value


def _cut_value(value: Any) -> Any:
    text = value if isinstance(value, str) else jsontext.encode_text(value)
    return value if len(text) <= _KEPT_CHARACTERS else text[:_KEPT_CHARACTERS]
