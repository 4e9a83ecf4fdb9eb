"""Text with its invisible characters made visible, for people who decide on what they read.

Characters that change the order of others (bidirectional controls) or take no place of their own (zero-width and
format characters, variation selectors, blank letters, unusual spaces) become JSON escapes, which no reader can miss.
Line feeds and tabs stay.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"})
_BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""Letters and marks without a glyph."""

_SELECTORS = re.compile("[\ufe00-\ufe0f\U000e0100-\U000e01ef]")
_PLAIN = re.compile(r"[\x20-\x7e\n\t]*\Z")


def visible_text(text: str) -> str:
    """Returns the text with escapes."""
    if _PLAIN.match(text):
        return text
    return "".join(_escape(character) if is_hidden(character) else character for character in text)


def visible_parts(text: str) -> Iterator[tuple[str, bool]]:
    """Yields runs of the text; True marks escapes in the place of hidden characters."""
    run: list[str] = []
    hidden_run = False
    for character in text:
        hidden = is_hidden(character)
        if hidden is not hidden_run and run:
            yield "".join(run), hidden_run
            run = []
        hidden_run = hidden
        run.append(_escape(character) if hidden else character)
    if run:
        yield "".join(run), hidden_run


def is_hidden(character: str) -> bool:
    """True for a character that a reader cannot see, or that moves others."""
    if " " <= character <= "~" or character in "\n\t":
        return False
    return (
        unicodedata.category(character) in _HIDDEN_CATEGORIES
        or character in _BLANK_LETTERS
        or _SELECTORS.match(character) is not None
    )


def _escape(character: str) -> str:
    code = ord(character)
    if code <= 0xFFFF:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
