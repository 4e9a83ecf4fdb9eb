"""Typed access to a client's JSON; a wrong type raises BadRequest with a sentence that names the field."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

from core_app.errors import BadRequest, PayloadTooLarge
from core_app.json_size import has_more_nodes

Json = dict[str, Any]

MAX_BYTES, MAX_NODES = 24 * 1024 * 1024, 200_000
"""The limits for a body that is decoded as a whole, and for the values in it. Its text takes up to four times its
bytes, each value about a hundred bytes, and the converted request as much again."""


def size_check(body: bytes) -> None:
    """Raises PayloadTooLarge for a body that is too large to be decoded as a whole."""
    if len(body) > MAX_BYTES:
        raise PayloadTooLarge(f"Requests that this gateway converts for the provider have at most {MAX_BYTES} bytes.")
    if has_more_nodes(body, MAX_NODES):
        raise PayloadTooLarge(f"Requests that this gateway converts for the provider hold at most {MAX_NODES} values.")


def require_object(value: Any, field: str) -> Json:
    """Returns `value`, which must be an object."""
    if not isinstance(value, dict):
        raise BadRequest(f"{field} must be an object.", field=field)
    return value


def optional_object(value: Any, field: str) -> Json:
    """Returns `value`, which must be an object or null; null becomes an empty object."""
    return {} if value is None else require_object(value, field)


def optional_array(value: Any, field: str) -> list[Any]:
    """Returns `value`, which must be an array or null; null becomes an empty array."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRequest(f"{field} must be an array.", field=field)
    return value


def iter_objects(value: Any, field: str) -> Iterator[tuple[str, Json]]:
    """Yields the path and value of each object of an array."""
    for number, item in enumerate(optional_array(value, field)):
        path = f"{field}[{number}]"
        yield path, require_object(item, path)


def require_string(value: Any, field: str) -> str:
    """Returns `value`, which must be a string."""
    if not isinstance(value, str):
        raise BadRequest(f"{field} must be a string.", field=field)
    return value


def require_nonempty(value: Any, field: str) -> str:
    """Returns `value`, which must be a non-empty string."""
    if not require_string(value, field):
        raise BadRequest(f"{field} must not be empty.", field=field)
    return str(value)


def field_error(field: str, sentence: str) -> BadRequest:
    """Returns a BadRequest whose message begins with the field."""
    return BadRequest(f"{field} {sentence}", field=field)


def unknown_fields(body: Json, known: Collection[str], made: Collection[str]) -> Json:
    """Returns the fields of `body` that are neither among `known` nor already `made`, and not null. They are passed on
    as they are, so `known` has the names of the fields that were converted, too."""
    return {n: value for n, value in body.items() if n not in known and n not in made and value is not None}


def pick_fields(body: Json, names: tuple[str, ...]) -> Json:
    """Returns the fields of `body` among `names` that are present and not null."""
    return {name: body[name] for name in names if body.get(name) is not None}
