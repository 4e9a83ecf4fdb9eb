"""The nearest known name, for messages about a name that is not known."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MAX_CHARACTERS = 100
"""A longer name is no misspelling, and comparing it costs the product of the lengths."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """Returns ` Did you mean NAME?`, to follow a sentence, or an empty text when no name is near. The case of letters,
    `_` and `-` make no difference."""
    if len(name) > MAX_CHARACTERS:
        return ""
    folded = {_fold(candidate): candidate for candidate in known}
    near = get_close_matches(_fold(name), folded, n=1, cutoff=0.65)
    return f" Did you mean {folded[near[0]]}?" if near else ""


def _fold(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
