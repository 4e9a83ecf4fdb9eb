"""Size of a JSON text once it is decoded, told from its bytes: a value takes up to a hundred times its bytes in memory.

The count stops at its limit and keeps nothing, so a hostile text costs what an ordinary one does.
"""

from __future__ import annotations

MAX_NODES = 50_000
"""Values that a client's JSON may hold, nested ones included. They take 10 MB and 50 ms; bodies of a mebibyte with the
smallest values held ten times as many."""

_MARKS = (b",", b"[", b"{")
"""Every value but the first of a text follows one of these; a string may hold them, too."""

_WINDOW = 64 * 1024
_STRINGS_WINDOW = 4 * 1024
"""Smaller, because it is taken apart at each string."""


def has_more_nodes(raw: bytes, limit: int) -> bool:
    """Returns True if the JSON holds more than `limit` values. A container counts as one more, for its first value."""
    if len(raw) <= 2 * limit:
        # Each value takes two bytes, with its comma or its brackets.
        return False
    return _marks_exceed(raw, limit) and _values_exceed(raw, limit)


def _marks_exceed(raw: bytes, limit: int) -> bool:
    """Returns True if the text has more marks than `limit`, those within strings included: fast, and enough for most
    texts."""
    count = 1
    for start in range(0, len(raw), _WINDOW):
        count += sum(raw.count(mark, start, start + _WINDOW) for mark in _MARKS)
        if count > limit:
            return True
    return False


def _values_exceed(raw: bytes, limit: int) -> bool:
    """Counts the marks outside of strings. A step for each string would take a hundred times as long, and one pattern
    for a long text would keep all other threads waiting."""
    count, quotes, carried = 1, 0, b""
    for start in range(0, len(raw), _STRINGS_WINDOW):
        window = carried + raw[start : start + _STRINGS_WINDOW]
        text = window.rstrip(b"\\")
        # Of backslashes at the end, an odd one escapes what comes next.
        carried = b"\\" * ((len(window) - len(text)) % 2)
        parts = text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[quotes % 2 :: 2])
        count += sum(outside.count(mark) for mark in _MARKS)
        quotes += len(parts) - 1
        # Of two strings one may be a name. Text that is no JSON may have no marks between its strings.
        if max(count, quotes // 4) > limit:
            return True
    return False
