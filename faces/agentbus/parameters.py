"""Parameters of methods: objects whose fields may be snake_case or camelCase."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from core_app.errors import BadRequest
from edge_app.rpc import Params, Parse

T = TypeVar("T")

_CAPITAL = re.compile("(?<=[a-z0-9])[A-Z]")


class Parameters(msgspec.Struct, kw_only=True):
    """Base of parameters. Fields that no method knows are ignored, because clients of other versions send them."""


class NoParameters(Parameters):
    """The parameters of a method that needs none."""


class SessionParameters(Parameters):
    """The parameters of a method on one session."""

    session_id: str


def parser(struct: type[T]) -> Parse[T]:
    """Returns a parser to a struct; a field given in both spellings is refused."""

    def parse(params: Params) -> T:
        return msgspec.convert(_snake_case(params), struct)

    return parse


def _snake_case(params: Params) -> dict[str, Any]:
    if not params:
        return {}
    renamed: dict[str, Any] = {}
    for name, value in params.items():
        snake = _CAPITAL.sub(lambda found: f"_{found[0].lower()}", name)
        if snake in renamed:
            raise BadRequest(f"{snake!r} is given twice.", field=snake)
        renamed[snake] = value
    return renamed
