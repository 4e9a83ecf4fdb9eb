"""Parsers of parameters: from the object of a frame to the typed parameters of a method."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")

Params = Mapping[str, Any]
Parse = Callable[[Params], T]


def struct_parser(struct: type[T]) -> Parse[T]:
    """Returns a parser to a `msgspec.Struct`, which reads a value of the wrong type as an error and never converts it.
    The struct's options decide on unknown fields and on the names of fields on the wire."""

    def parse(params: Params) -> T:
        return msgspec.convert(params, struct)

    return parse


def serializer_parser(serializer: Callable[..., Any]) -> Parse[Any]:
    """Returns a parser to a valid serializer of Django REST framework, for methods that share their shape with a REST
    endpoint. Its ValidationError is one that `edge_app.rest.errors.as_gateway_error` knows."""

    def parse(params: Params) -> Any:
        checked = serializer(data=dict(params))
        checked.is_valid(raise_exception=True)
        return checked

    return parse
