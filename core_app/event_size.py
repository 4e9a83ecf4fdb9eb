"""The bound on one event's size: an event is a message to followers, not a store for documents."""

from __future__ import annotations

from typing import Any

from core_app import jsontext

MAX_EVENT_BYTES = 256 * 1024
"""An event above this is cut (design, "No tenant can stop the others"); the whole text stays in its message row."""

_KEPT_CHARACTERS = 32 * 1024


def truncated(encoded: bytes) -> bytes:
    """`encoded` itself, or, when it is too large, the same object with long values cut and `truncated: true`."""
    if len(encoded) <= MAX_EVENT_BYTES:
        return encoded
    data = jsontext.decode(encoded)
    shortened = jsontext.encode(_shortened(data) | {"truncated": True})
    if len(shortened) <= MAX_EVENT_BYTES:
        return shortened
    return jsontext.encode({key: _cut(value) for key, value in data.items()} | {"truncated": True})


def _shortened(value: Any) -> Any:
    """The same shape with its long texts cut: a client that reads `lastMessage` finds the object it expects."""
    if isinstance(value, str):
        return value[:_KEPT_CHARACTERS]
    if isinstance(value, dict):
        return {key: _shortened(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_shortened(item) for item in value]
    return value


def _cut(value: Any) -> Any:
    text = value if isinstance(value, str) else jsontext.encode_text(value)
    return value if len(text) <= _KEPT_CHARACTERS else text[:_KEPT_CHARACTERS]
