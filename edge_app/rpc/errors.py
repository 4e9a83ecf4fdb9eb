"""The one place from an exception of a method to the error that its reply carries.

A face renders the GatewayError with a table of its own: codes, message and data differ by protocol.
"""

from __future__ import annotations

import re

import msgspec

from core_app.errors import BadRequest, Conflict, GatewayError, Unavailable
from edge_app.http.errors import internal_error

_PATH = re.compile(r"(.*) - at `\$\.?(.*)`\Z", re.DOTALL)


class MethodTimedOut(Unavailable):
    """The method did not end within its time-out; whether it took effect is unknown."""


class RequestCancelled(Conflict):
    """The client cancelled the request while it was under way."""


def rpc_error(cause: Exception) -> GatewayError:
    """Returns the error of a reply: a GatewayError as it is, a fault of the parameters with the field named, and any
    other exception as an internal error, whose id is in the log."""
    if isinstance(cause, GatewayError):
        return cause
    if isinstance(cause, msgspec.ValidationError):
        return _parameter_error(str(cause))
    return internal_error(cause)


def _parameter_error(message: str) -> BadRequest:
    """msgspec says "Expected `int`, got `str` - at `$.count`"."""
    found = _PATH.match(message)
    if found is None:
        return BadRequest(f"{message}.")
    text, field = found.groups()
    return BadRequest(f"'{field}': {text}." if field else f"{text}.", field=field or None)
