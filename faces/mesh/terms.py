"""Texts as terms of a full-text index, and queries as terms to look for: the same for both databases.

Words are folded. Scripts without spaces are cut into pairs of neighbouring characters, because nobody says where their
words end; a query of several characters is looked for as the pairs one after the other, and one of a single character
as the beginning of a pair.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from faces.mesh.scripts import UNSPACED, fold

MAX_CHARACTERS = 50_000
"""The beginning of a text that is indexed: PostgreSQL takes a megabyte of terms for a row."""

MAX_WORD = 64
MAX_QUERY_TERMS = 32

_RUN = re.compile(f"([{UNSPACED}]+)|([^\\W_{UNSPACED}]+)")


@dataclass(frozen=True, slots=True)
class QueryTerm:
    """Terms that have to stand one after the other; with `prefix` the only one may be the beginning of a term."""

    terms: tuple[str, ...]
    prefix: bool = False


def index_terms(text: str) -> list[str]:
    """Returns the terms of a text, in order. The last characters of unspaced runs come after all others, so that a
    search for one character finds them without disturbing the order."""
    terms: list[str] = []
    lasts: list[str] = []
    for unspaced, word in _RUN.findall(fold(text[:MAX_CHARACTERS])):
        if word:
            terms.append(word[:MAX_WORD])
        else:
            terms += _pairs(unspaced)
            lasts.append(unspaced[-1])
    return terms + list(dict.fromkeys(lasts))


def query_terms(query: str) -> Sequence[QueryTerm]:
    """Returns what a text must have to be found; nothing for a query without words."""
    found: dict[QueryTerm, None] = {}
    for unspaced, word in _RUN.findall(fold(query)):
        if word:
            found[QueryTerm((word[:MAX_WORD],))] = None
        elif len(unspaced) == 1:
            found[QueryTerm((unspaced,), prefix=True)] = None
        else:
            found[QueryTerm(tuple(_pairs(unspaced)))] = None
    return list(found)[:MAX_QUERY_TERMS]


def excerpt(text: str, query: str, *, around: int = 80) -> str:
    """Returns the part of a text around the first word of the query that it has."""
    flat = " ".join(text[:MAX_CHARACTERS].split())
    folded = fold(flat)
    # Folding rarely changes lengths; where it does, the excerpt is a little off.
    places = [folded.find(match.group()) for match in _RUN.finditer(fold(query))]
    at = min((place for place in places if place >= 0), default=0)
    start, end = max(0, at - around), min(len(flat), at + 2 * around)
    return ("…" if start else "") + flat[start:end] + ("…" if end < len(flat) else "")


def _pairs(run: str) -> list[str]:
    return [run[at : at + 2] for at in range(len(run) - 1)]
