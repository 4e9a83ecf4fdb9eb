"""Reading a client's JSON: what has the wrong shape is refused with a sentence that names the field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core_app.errors import BadRequest

Json = dict[str, Any]


def require_object(value: Any, field: str) -> Json:
    """`value`, which must be an object."""
    if not isinstance(value, dict):
        raise BadRequest(f"{field} must be an object.", field=field)
    return value


def optional_object(value: Any, field: str) -> Json:
    """`value`, an object, or an empty one in the place of null."""
    return {} if value is None else require_object(value, field)


def optional_array(value: Any, field: str) -> list[Any]:
    """`value`, an array, or an empty one in the place of null."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadRequest(f"{field} must be an array.", field=field)
    return value


def iter_objects(value: Any, field: str) -> Iterator[tuple[str, Json]]:
    """Each object of an array, with its path."""
    for number, item in enumerate(optional_array(value, field)):
        path = f"{field}[{number}]"
        yield path, require_object(item, path)


def require_string(value: Any, field: str) -> str:
    """`value`, which must be a string."""
    if not isinstance(value, str):
        raise BadRequest(f"{field} must be a string.", field=field)
    return value


def require_nonempty(value: Any, field: str) -> str:
    """`value`, which must be a string with something in it."""
    if not require_string(value, field):
        raise BadRequest(f"{field} must not be empty.", field=field)
    return str(value)


def field_error(field: str, sentence: str) -> BadRequest:
    """A refusal whose sentence begins with the field."""
    return BadRequest(f"{field} {sentence}", field=field)


def pick_fields(body: Json, names: tuple[str, ...]) -> Json:
    """The fields among `names` that are there and not null."""
    return {name: body[name] for name in names if body.get(name) is not None}
