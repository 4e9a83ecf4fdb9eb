"""Size of a JSON text once it is decoded, told from its bytes: a value takes up to a hundred times its bytes in memory.

The count stops at its limit and keeps nothing, so a hostile text costs what an ordinary one does.
"""

from __future__ import annotations

import re

MAX_NODES = 50_000
"""Values that a client's JSON may hold, nested ones included. They take 10 MB and 50 ms; bodies of a mebibyte with the
smallest values held ten times as many."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)
_MARKS = (b",", b"[", b"{")
"""Every value but the first of a text follows one of these; a string may hold them, too."""

_WINDOW = 64 * 1024


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
    count, at, strings = 1, 0, 0
    for found in _STRING.finditer(raw):
        count += _marks_between(raw, at, found.start(), limit)
        at, strings = found.end(), strings + 1
        # Of two strings one may be a name. Text that is no JSON may have no marks between its strings.
        if max(count, strings // 2) > limit:
            return True
    return count + _marks_between(raw, at, len(raw), limit) > limit


def _marks_between(raw: bytes, start: int, end: int, limit: int) -> int:
    count = 0
    for window in range(start, end, _WINDOW):
        count += sum(raw.count(mark, window, min(end, window + _WINDOW)) for mark in _MARKS)
        if count > limit:
            break
    return count
