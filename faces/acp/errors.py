"""Errors as the protocol has them: JSON-RPC errors with the native code in their data."""

from __future__ import annotations

from acp import RequestError

from core_app.errors import BadRequest, GatewayError, NotFound, Unauthorized
from edge_app.http.errors import error_body, internal_error

_NUMBERS: tuple[tuple[type[GatewayError], int], ...] = (
    (BadRequest, -32602),
    (NotFound, -32002),
    (Unauthorized, -32000),
)


def request_error(error: Exception) -> RequestError:
    """Returns what the client gets for an exception; an unknown one is logged under the id that the client gets."""
    if isinstance(error, RequestError):
        return error
    known = error if isinstance(error, GatewayError) else internal_error(error)
    body = error_body(known)
    number = next((number for kind, number in _NUMBERS if isinstance(known, kind)), -32603)
    return RequestError(number, body.pop("message"), body)
