"""`limit` and `cursor` of list endpoints. A cursor is opaque to clients and a key of the sort order to us."""

from __future__ import annotations

from rest_framework.request import Request

from core_app.errors import BadRequest

MAX_LIMIT = 200


def limit_of(request: Request, *, default: int = 50) -> int:
    """The page's size, from 1 to 200."""
    return min(max(1, number_of(request, "limit", default) or default), MAX_LIMIT)


def cursor_of(request: Request) -> int | None:
    """The position after which the page starts."""
    return number_of(request, "cursor", None)


def number_of(request: Request, name: str, default: int | None) -> int | None:
    """A whole number of the query; anything else is refused by its name."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"'{name}' must be a whole number of at least 0.", field=name)
    return int(text)
