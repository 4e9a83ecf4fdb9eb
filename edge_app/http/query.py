"""Query strings of bare ASGI endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs

from core_app.errors import BadRequest
from events_app.generations import Position, position_parse

Query = Mapping[str, str]


def query_of(scope: Mapping[str, Any]) -> Query:
    """Returns the parameters of a request; of a repeated one the last value."""
    parsed = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    return {name: values[-1] for name, values in parsed.items()}


def whole_number(text: str, field: str) -> int:
    """Returns a whole number of at least 0; raises BadRequest that names `field`."""
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"{field} must be a whole number of at least 0.", field=field)
    return int(text)


_BOOLEANS = {"true": True, "false": False}


def boolean(query: Query, name: str) -> bool:
    """Returns the parameter `name`, False without it; raises BadRequest for anything but true and false."""
    text = query.get(name, "false").lower()
    if text not in _BOOLEANS:
        raise BadRequest(f"'{name}' must be true or false.", field=name)
    return _BOOLEANS[text]


def stream_position(text: str, field: str) -> Position:
    """Returns a position in a stream, as an event's id says it; raises BadRequest that names `field`."""
    try:
        return position_parse(text)
    except ValueError:
        raise BadRequest(f"{field} must be the id of an event, or 0.", field=field) from None
