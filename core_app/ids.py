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
_AHEAD = 256
"""Ids whose randomness is fetched at once: the system call costs more than all the rest of an id."""

_random: list[bytes] = []
os.register_at_fork(after_in_child=_random.clear)


def new_id(prefix: str) -> str:
    """`prefix_` and 26 characters of Crockford base32: 48 bits of milliseconds, 80 of randomness."""
    number = (time.time_ns() // 1_000_000) << 80 | _random_80()
    return f"{prefix}_" + "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


def _random_80() -> int:
    while True:
        try:
            return int.from_bytes(_random.pop())
        except IndexError:
            fetched = os.urandom(10 * _AHEAD)
            _random.extend(fetched[at : at + 10] for at in range(0, len(fetched), 10))
