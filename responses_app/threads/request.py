"""The field `thread` of a Messages request: whether it creates a thread or continues one, and what is kept of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

from core_app import jsontext
from core_app.errors import BadRequest
from core_app.jsontext import clean_text
from inference_app.conversion.fields import THREAD
from inference_app.errors import UnsupportedFields
from inference_app.relay import Envelope
from inference_app.relay.body_fields import Value
from responses_app.request import MAX_END_USER, MAX_STORED_BYTES
from responses_app.threads.errors import ThreadFingerprintMismatch
from tenants_app.principal import Principal

CONTEXT_FIELDS = ("system", "tools")
"""Fields that a thread is created with, and that the requests after it do not repeat."""


@dataclass(frozen=True, slots=True)
class ThreadRequest:
    """The part of a request that is about a thread. `previous_id` None: it creates one. `own_messages` is a list in
    JSON, `context` the values of CONTEXT_FIELDS in JSON."""

    previous_id: str | None
    own_messages: str
    context: Mapping[str, str]
    model: str
    end_user: str | None

    @property
    def says_nothing(self) -> bool:
        """True for a request without a message, which resumes an answer that its provider has paused."""
        return self.own_messages.strip("[] \t\r\n") == ""


def read_thread(envelope: Envelope, principal: Principal) -> ThreadRequest | None:
    """Returns what the request says; None without a thread. Raises BadRequest for a malformed field, and
    UnsupportedFields where nothing may be kept."""
    thread = envelope.value_of(THREAD)
    if thread is None:
        return None
    kind = thread.get("type") if isinstance(thread, dict) else None
    previous = thread.get("previous_message_id") if isinstance(thread, dict) else None
    if kind == "continue":
        if not isinstance(previous, str) or not previous:
            raise BadRequest("'thread.previous_message_id' must be the id of an answer.", field="thread")
    elif kind != "create" or previous is not None:
        raise BadRequest("'thread.type' must be 'create', or 'continue' with a 'previous_message_id'.", field="thread")
    _keep_check(envelope, principal)
    return ThreadRequest(
        previous_id=previous,
        own_messages=_messages(envelope.fields.get("messages")),
        context={name: text for name in CONTEXT_FIELDS if (text := _text(envelope.fields.get(name))) is not None},
        model=envelope.model,
        end_user=_end_user(envelope, principal),
    )


def context_check(given: Mapping[str, str], kept: Mapping[str, str]) -> None:
    """Raises ThreadFingerprintMismatch for fields that differ from those of the thread. To repeat them is no fault."""
    changed = [
        name
        for name, text in given.items()
        if jsontext.decode_untrusted(text.encode(), field=name) != jsontext.decode(kept.get(name, "null"))
    ]
    if changed:
        raise ThreadFingerprintMismatch(changed)


def _keep_check(envelope: Envelope, principal: Principal) -> None:
    stored = principal.stores_responses
    if not (settings.GATEWAY_STORE_RESPONSES if stored is None else stored):
        raise _unsupported("'thread' needs that responses are stored, which is off (GATEWAY_STORE_RESPONSES)")
    if envelope.size > MAX_STORED_BYTES:
        raise _unsupported(f"'thread' is not served for requests of more than {MAX_STORED_BYTES} bytes")


def _unsupported(reason: str) -> UnsupportedFields:
    message = f"{reason}: send the whole conversation without it."
    return UnsupportedFields(message, error_code="thread_unsupported_request", unsupported=(THREAD,))


def _messages(given: Value | None) -> str:
    text = _text(given) or "[]"
    if not text.startswith("["):
        raise BadRequest("'messages' must be a list.", field="messages")
    return text


def _text(given: Value | None) -> str | None:
    text = "null" if given is None else bytes(memoryview(given)).decode().strip()
    return None if text == "null" else text


def _end_user(envelope: Envelope, principal: Principal) -> str | None:
    """Returns the person whom the thread is for: the token's, else the one that the client names."""
    about = envelope.value_of("metadata")
    named = principal.end_user or (about.get("user_id") if isinstance(about, dict) else None)
    return clean_text(named)[:MAX_END_USER] if isinstance(named, str) and named else None
