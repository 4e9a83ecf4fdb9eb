"""What needs stored responses, refused before anybody is asked.

A field that is absent asks for nothing: OpenAI's own default of `store` is not taken for a wish.
"""

from __future__ import annotations

from typing import Any

import orjson

from inference_app.relay import Envelope, Refusal

_NOT_STORED = "this gateway does not store responses."
_REFUSED = {
    "store": f"'store' must be false or absent: {_NOT_STORED}",
    "background": f"'background' must be false or absent: {_NOT_STORED}",
    "previous_response_id": f"'previous_response_id' cannot be followed: {_NOT_STORED} Send the whole input.",
}


def stateless_check(envelope: Envelope) -> None:
    """Raises Refusal (400, `unsupported_parameter`) for the first field that wants something stored."""
    for name, message in _REFUSED.items():
        if _value(envelope, name) not in (None, False):
            raise Refusal(400, "unsupported_parameter", message, name)


def stateless_fields() -> frozenset[str]:
    """The names of the fields that are refused."""
    return frozenset(_REFUSED)


def response_not_found(response_id: str) -> Refusal:
    """What any stored response is answered with."""
    message = f"There is no response '{response_id[:100]}': {_NOT_STORED}"
    return Refusal(404, "response_not_found", message, "response_id")


def _value(envelope: Envelope, name: str) -> Any:
    raw = envelope.fields.get(name)
    if raw is None:
        return None
    try:
        return orjson.loads(bytes(raw))
    except orjson.JSONDecodeError:
        # A string with lone surrogates: certainly neither absent nor false.
        return True
