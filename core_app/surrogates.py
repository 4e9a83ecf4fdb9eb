"""Replacement of unpaired surrogate escapes (`\\ud83d` without its other half), which JSON readers refuse."""

from __future__ import annotations

import re

_SURROGATE = re.compile(rb"\\u[dD](?:([89abAB])|[c-fC-F])[0-9a-fA-F]{2}")
MAX_SURROGATES = 10_000
"""The limit of escaped surrogates in a body with a lone one: more are no accident, and replacing takes time."""


def replace_lone_surrogates(raw: bytes) -> bytes | None:
    """Returns the JSON with U+FFFD for every escaped surrogate without its other half; None if it has no escaped
    surrogate, or too many."""
    if not 0 < raw.count(b"\\ud") + raw.count(b"\\uD") <= MAX_SURROGATES:
        return None
    view = memoryview(raw)
    parts: list[bytes | memoryview] = []
    done = seen = 0
    first: re.Match[bytes] | None = None
    for found in _SURROGATE.finditer(raw):
        before = raw[seen : found.start()]
        seen = found.end()
        if (len(before) - len(before.rstrip(b"\\"))) % 2:
            continue
        if first is not None and not found[1] and first.end() == found.start():
            first = None
            continue
        for half in (first, None if found[1] else found):
            if half is not None:
                parts += (view[done : half.start()], b"\\ufffd")
                done = half.end()
        first = found if found[1] else None
    if first is not None:
        parts += (view[done : first.start()], b"\\ufffd")
        done = first.end()
    return b"".join((*parts, view[done:]))
