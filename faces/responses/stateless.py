"""Requests that need stored responses: refused before any provider is asked.

An absent field asks for nothing; OpenAI's default of `store` does not count as a request to store.
"""

from __future__ import annotations

from inference_app.errors import ResponseNotFound, UnsupportedParameter
from inference_app.relay import Envelope

_NOT_STORED = "this gateway does not store responses."
_REFUSED = {
    "store": f"'store' must be false or absent: {_NOT_STORED}",
    "background": f"'background' must be false or absent: {_NOT_STORED}",
    "previous_response_id": f"'previous_response_id' cannot be followed: {_NOT_STORED} Send the whole input.",
}


def stateless_check(envelope: Envelope) -> None:
    """Raises UnsupportedParameter for the first field that wants something stored."""
    for name, message in _REFUSED.items():
        if envelope.value_of(name) not in (None, False):
            raise UnsupportedParameter(message, field=name)


def stateless_fields() -> frozenset[str]:
    """The names of the fields that are refused."""
    return frozenset(_REFUSED)


def response_not_found(response_id: str) -> ResponseNotFound:
    """Returns the error for any stored response."""
    message = f"There is no response '{response_id[:100]}': {_NOT_STORED}"
    return ResponseNotFound(message, field="response_id")
