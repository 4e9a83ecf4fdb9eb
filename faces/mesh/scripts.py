"""Scripts that are written without spaces between words, for routing and for search."""

from __future__ import annotations

import unicodedata

UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Burmese
    "\u1780-\u17ff"  # Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"  # Japanese
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\U0001b000-\U0001b16f\U00020000-\U0003ffff"  # further kana and Han
)
"""Ranges for a class of a regular expression."""


def fold(text: str) -> str:
    """Returns the text as it is compared: without differences of case and of full-width and half-width forms."""
    return unicodedata.normalize("NFKC", text).casefold()
