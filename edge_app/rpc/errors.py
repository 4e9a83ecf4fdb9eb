"""Errors of RPC methods: the one place from any exception to a GatewayError, and the table from there to the wire.

A reply never carries the text of a foreign exception: that is in the log, under the error id that the reply has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Generic, TypeVar

import msgspec

from core_app.errors import BadRequest, Conflict, GatewayError, Unavailable
from edge_app.http.errors import internal_error

T = TypeVar("T")


class MethodTimedOut(Unavailable):
    """The method did not end within its time-out; whether it took effect is unknown."""


class RequestCancelled(Conflict):
    """The client cancelled the request while it was under way."""


class ErrorTable(Generic[T]):
    """A face's table from errors to codes: `ErrorTable({GatewayError: 5000, BadRequest: 4000, …})`.

    An error has the code of its nearest class in the table; GatewayError has to be there.
    """

    def __init__(self, codes: Mapping[type[GatewayError], T]) -> None:
        if GatewayError not in codes:
            raise ValueError("The table needs a code for GatewayError.")
        self._codes = codes

    def code(self, error: GatewayError) -> T:
        """Returns the code of an error."""
        return next(self._codes[kind] for kind in type(error).__mro__ if kind in self._codes)


def rpc_error(cause: Exception) -> GatewayError:
    """Returns the error for a reply: a GatewayError as it is, a fault of the parameters with its field, and for any
    other exception an internal error, whose id is in the log."""
    if isinstance(cause, GatewayError):
        return cause
    if isinstance(cause, msgspec.ValidationError):
        return parameter_error(str(cause))
    return internal_error(cause)


_LOCATION = re.compile(r" - at `(?:key in )?\$\.?(.*?)`\Z", re.DOTALL)
_FIELD = re.compile(r"Object (?:missing required|contains unknown) field `(.*)`\Z", re.DOTALL)


def parameter_error(message: str) -> BadRequest:
    """Returns the error for a message of msgspec, such as "Expected `int`, got `str` - at `$.count`" or "Object missing
    required field `count`". The field is named as in REST: `ranges.0.first`."""
    location = _LOCATION.search(message)
    path = re.sub(r"\[(.*?)\]", r".\1", location[1]).lstrip(".") if location else ""
    fault = message[: location.start()] if location else message
    if named := _FIELD.match(fault):
        path = f"{path}.{named[1]}" if path else named[1]
        fault = "is required" if "missing" in fault else "is unknown"
        return BadRequest(f"'{path}' {fault}.", field=path)
    return BadRequest(f"'{path}': {fault}." if path else f"{fault}.", field=path or None)
