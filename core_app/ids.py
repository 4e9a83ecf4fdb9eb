"""Identifiers and secrets: a prefix that names the kind, the code of the cell if there is one, and random characters.

This module makes all of them that leave the gateway, so a proxy finds the cell of each by its beginning: `run_eu1_…`
(docs/scaling.md). An id has milliseconds and random bits in base32: time order keeps B-tree inserts at the right edge,
the random bits make ids unique; they are names, never secrets.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from functools import lru_cache

from django.conf import settings

CELL = re.compile(r"[a-z0-9]{0,8}\Z")
"""The form of GATEWAY_CELL."""

MAX_PREFIX = 4
"""Characters of the prefix of an id that is stored: with a code of eight, the columns of 40 characters are full."""

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
    """Returns `prefix_`, the cell's code and `_` if there is one, and 26 characters of Crockford base32: 48 bits of
    milliseconds, 80 random bits."""
    return f"{mark_cell(prefix)}{_time_characters(time.time_ns() // 1_000_000)}{_random_characters()}"


def new_secret(prefix: str) -> str:
    """Returns the same with 43 URL-safe characters, 256 random bits."""
    return mark_cell(prefix) + secrets.token_urlsafe(32)


def mark_cell(prefix: str) -> str:
    """Returns the beginning of ids and secrets of this kind that are made here."""
    cell: str = settings.GATEWAY_CELL
    return f"{prefix}_{cell}_" if cell else f"{prefix}_"


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
