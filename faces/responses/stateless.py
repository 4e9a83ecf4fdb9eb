"""Requests that need stored responses: refused before any provider is asked.

An absent field asks for nothing; OpenAI's default of `store` does not count as a request to store.
"""

from __future__ import annotations

from core_app.errors import BadRequest
from inference_app.errors import ResponseNotFound, UnsupportedParameter
from inference_app.relay import Envelope
from inference_app.relay.body_fields import Value

_NOT_STORED = "this gateway does not store responses."
_REFUSED = {
    "store": f"'store' must be false or absent: {_NOT_STORED}",
    "background": f"'background' must be false or absent: {_NOT_STORED}",
    "previous_response_id": f"'previous_response_id' cannot be followed: {_NOT_STORED} Send the whole input.",
}


def stateless_check(envelope: Envelope) -> None:
    """Raises UnsupportedParameter for the first field that wants something stored, and BadRequest without `input`."""
    if envelope.value_of("prompt") is None and _is_null(envelope.fields.get("input")):
        raise BadRequest("'input' is required.", field="input")
    for name, message in _REFUSED.items():
        if envelope.value_of(name) not in (None, False):
            raise UnsupportedParameter(message, field=name)


def _is_null(value: Value | None) -> bool:
    return value is None or bytes(memoryview(value)[:4]) == b"null"


def stateless_fields() -> frozenset[str]:
    """The names of the fields that are refused."""
    return frozenset(_REFUSED)


def response_not_found(response_id: str) -> ResponseNotFound:
    """Returns the error for any stored response."""
    message = f"There is no response '{response_id[:100]}': {_NOT_STORED}"
    return ResponseNotFound(message, field="response_id")
