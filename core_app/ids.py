"""Identifiers: a prefix that names the noun, then a time-ordered random part (UUIDv7 bits, base32).

Time order keeps B-tree inserts at the right edge; 74 random bits keep ids unguessable enough to be
names, never secrets.
"""

from __future__ import annotations

import os
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
"""Two characters at a time: an id is made for every request."""

_SHIFTS = range(120, -1, -10)


def new_id(prefix: str) -> str:
    """`prefix_` and 26 characters of Crockford base32: 48 bits of milliseconds, 80 of randomness."""
    number = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    return f"{prefix}_" + "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])
