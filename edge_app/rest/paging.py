"""`limit` and `cursor` of list endpoints. A cursor is opaque to clients; here it is a key of the sort order."""

from __future__ import annotations

from rest_framework.request import Request

from edge_app.rest.query import number_parameter

MAX_LIMIT = 200

LIMIT_SCHEMA = {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 10**18 - 1}, {"const": ""}]}
"""What `limit_of` takes, for the OpenAPI document; an empty value counts as none."""


def limit_of(request: Request, *, default: int = 50) -> int:
    """Returns the size of the page, from 1 to `MAX_LIMIT`."""
    return min(max(1, number_parameter(request, "limit", default) or default), MAX_LIMIT)


def cursor_of(request: Request) -> int | None:
    """Returns the position after which the page starts, None for the first page."""
    return number_parameter(request, "cursor", None)


def next_cursor(key: int | None) -> str | None:
    """Returns the position after the page as clients get it, None on the last page."""
    return str(key) if key is not None else None
