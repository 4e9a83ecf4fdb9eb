"""The fields of a request that are the gateway's own: whether it is stored, runs in the background, and continues what.

`None` in a field is the same as its absence. What a provider gets has none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings

from core_app.errors import BadRequest, PayloadTooLarge
from core_app.jsontext import clean_text
from inference_app.relay import Envelope
from inference_app.relay.body_fields import Value
from tenants_app.principal import Principal

STATE_FIELDS = ("background", "conversation", "previous_response_id")
"""Fields that no provider gets."""

MAX_STORED_BYTES = 4 * 1024 * 1024
"""The largest request that is stored. Its input is in memory in several forms until the response ends."""

MAX_ID = 64
MAX_END_USER = 200


@dataclass(frozen=True, slots=True)
class StateRequest:
    """The part of a request that is about the gateway's store."""

    store: bool
    background: bool = False
    previous_id: str | None = None
    conversation_id: str | None = None
    end_user: str | None = None

    @property
    def stateful(self) -> bool:
        """True if the request needs the store."""
        return self.store or self.previous_id is not None


def read_state(envelope: Envelope, principal: Principal) -> StateRequest:
    """Reads the fields; raises BadRequest for values of a wrong type, and for combinations that make no sense."""
    store, background = _boolean(envelope, "store"), _boolean(envelope, "background") or False
    default = settings.GATEWAY_STORE_RESPONSES if principal.stores_responses is None else principal.stores_responses
    stored = default if store is None else store
    conversation_id = _conversation_id(envelope)
    if stored and envelope.size > MAX_STORED_BYTES:
        if store or background or conversation_id is not None:
            raise PayloadTooLarge(
                f"A request of more than {MAX_STORED_BYTES} bytes is not stored: send 'store': false.", field="store"
            )
        # The response says that it was not stored.
        stored = False
    if background and not stored:
        raise BadRequest("A response in the background is stored: 'store' must be true.", field="store")
    previous_id = _text_id(envelope, "previous_response_id")
    if conversation_id is not None and previous_id is not None:
        raise BadRequest("A request continues a conversation or a response, not both.", field="previous_response_id")
    if conversation_id is not None and not stored:
        raise BadRequest("A response in a conversation is stored: 'store' must be true.", field="store")
    return StateRequest(stored, background, previous_id, conversation_id, _end_user(envelope, principal))


def input_check(envelope: Envelope) -> None:
    """Raises BadRequest for a request that says nothing."""
    if envelope.value_of("prompt") is None and _is_null(envelope.fields.get("input")):
        raise BadRequest("'input' is required.", field="input")


def _boolean(envelope: Envelope, name: str) -> bool | None:
    value = envelope.value_of(name)
    if value is not None and not isinstance(value, bool):
        raise BadRequest(f"'{name}' must be true or false.", field=name)
    return value


def _text_id(envelope: Envelope, name: str) -> str | None:
    value = envelope.value_of(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"'{name}' must be a text.", field=name)
    return value or None


def _conversation_id(envelope: Envelope) -> str | None:
    value = envelope.value_of("conversation")
    named = value.get("id") if isinstance(value, dict) else value
    if (value is not None and named is None) or not isinstance(named, str | None):
        raise BadRequest("'conversation' must be an id, or an object with an 'id'.", field="conversation")
    return named or None


def _end_user(envelope: Envelope, principal: Principal) -> str | None:
    """Returns the person that the response is for: the token's, else the one that the client names."""
    named: Any = principal.end_user or envelope.value_of("safety_identifier") or envelope.value_of("user")
    return clean_text(named)[:MAX_END_USER] if isinstance(named, str) and named else None


def _is_null(value: Value | None) -> bool:
    return value is None or bytes(memoryview(value)[:4]) == b"null"
