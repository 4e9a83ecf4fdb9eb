"""Identifiers: a prefix that names the kind of object, then milliseconds and random bits in base32.

Time order keeps B-tree inserts at the right edge. The random bits make ids unique; they are names, never secrets.
"""

from __future__ import annotations

import os
import time
from functools import lru_cache

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_SHIFTS = range(45, -1, -5)
_RANDOM_CHARACTERS = 16
_TO_ALPHABET = (_ALPHABET * 8).encode()
"""Table for `bytes.translate`: each character stands for eight of the 256 byte values."""

_AHEAD = 256
"""Number of ids whose random bits are fetched at once: the system call costs more than the rest of an id."""

_random: list[str] = []
os.register_at_fork(after_in_child=_random.clear)


def new_id(prefix: str) -> str:
    """Returns `prefix_` and 26 characters of Crockford base32: 48 bits of milliseconds, 80 random bits."""
    return f"{prefix}_{_time_characters(time.time_ns() // 1_000_000)}{_random_characters()}"


@lru_cache(maxsize=1)
def _time_characters(milliseconds: int) -> str:
    return "".join([_ALPHABET[milliseconds >> shift & 31] for shift in _SHIFTS])


def _random_characters() -> str:
    while True:
        try:
            return _random.pop()
        except IndexError:
            fetched = os.urandom(_RANDOM_CHARACTERS * _AHEAD).translate(_TO_ALPHABET).decode()
            _random.extend(fetched[at : at + _RANDOM_CHARACTERS] for at in range(0, len(fetched), _RANDOM_CHARACTERS))
