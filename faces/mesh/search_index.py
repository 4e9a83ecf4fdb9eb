"""The full-text index of spaces: FTS5 on SQLite, a `tsvector` with a GIN index on PostgreSQL.

Both are kept by the database itself from the rows of SearchEntry (migration 0002), so whatever removes an entry removes
it from the index. Every entry begins with a term for its space, so a search reads no other space's matches.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from django.db import connection

from faces.mesh.models import Artifact, SearchEntry, SpaceMessage
from faces.mesh.terms import QueryTerm, index_terms

_SPACE_MARK = "\ue000"
"""A private character: no word of a text contains it."""

_MAX_POSITION = 16_383

_SQLITE = (
    "SELECT e.id, e.message_id, e.artifact_id, -bm25(mesh_search) FROM mesh_search"
    " JOIN mesh_searchentry e ON e.id = mesh_search.rowid"
    " WHERE mesh_search MATCH %s AND e.space_id = %s ORDER BY bm25(mesh_search), e.id DESC LIMIT %s"
)
_POSTGRESQL = (
    "SELECT id, message_id, artifact_id, ts_rank(document, q) AS score FROM mesh_searchentry, CAST(%s AS tsquery) q"
    " WHERE document @@ q AND space_id = %s ORDER BY score DESC, id DESC LIMIT %s"
)


class Match(NamedTuple):
    """An entry that a search found."""

    entry_id: int
    message_id: int | None
    artifact_id: int | None
    score: float


def entry_add(
    *, space_pk: int, text: str, message: SpaceMessage | None = None, artifact: Artifact | None = None
) -> SearchEntry:
    """Adds a text to the index."""
    terms = entry_terms(space_pk, text)
    return SearchEntry.objects.create(space_id=space_pk, message=message, artifact=artifact, terms=terms)


def entry_terms(space_pk: int, text: str) -> str:
    """Returns the terms of a text in the form that the database's index reads."""
    terms = [_space_term(space_pk), *index_terms(text)]
    return _vector(terms) if connection.vendor == "postgresql" else " ".join(terms)


def search_matches(space_pk: int, wanted: Sequence[QueryTerm], limit: int) -> list[Match]:
    """Returns the entries of the space that have all the terms, the best first."""
    terms = [QueryTerm((_space_term(space_pk),)), *wanted]
    on_postgresql = connection.vendor == "postgresql"
    sql = _POSTGRESQL if on_postgresql else _SQLITE
    query = " & ".join(map(_tsquery, terms)) if on_postgresql else " AND ".join(map(_fts5, terms))
    with connection.cursor() as cursor:
        cursor.execute(sql, [query, space_pk, limit])
        return [Match(*row) for row in cursor.fetchall()]


def _space_term(space_pk: int) -> str:
    return f"{_SPACE_MARK}{space_pk}"


def _fts5(term: QueryTerm) -> str:
    return f'"{" ".join(term.terms)}"' + (" *" if term.prefix else "")


def _tsquery(term: QueryTerm) -> str:
    return "(" + " <-> ".join(f"'{part}'" + (":*" if term.prefix else "") for part in term.terms) + ")"


def _vector(terms: Sequence[str]) -> str:
    """Returns the text form of a tsvector. Terms contain neither quotes nor backslashes."""
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for position, term in enumerate(terms, start=1):
        positions[term].append(min(position, _MAX_POSITION))
    return " ".join(f"'{term}':{','.join(map(str, places[:255]))}" for term, places in positions.items())
