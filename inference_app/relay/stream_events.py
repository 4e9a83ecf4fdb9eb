"""Events of a provider's stream, decoded no further than their kind, ends of choices, usage and error."""

from __future__ import annotations

import re
from typing import Any, TypeVar

import msgspec

from inference_app.providers.provider_errors import looks_like_error
from inference_app.spend.usage import LooseBody

DATA = re.compile(rb"^data:[ ]?(.*?)\r?$", re.MULTILINE)


class FailedResponse(msgspec.Struct):
    """The response in the last event of a Responses stream."""

    error: msgspec.Raw = msgspec.Raw(b"")


class EventFields(LooseBody):
    """The fields of an event that say what it is, beside its usage."""

    error: msgspec.Raw = msgspec.Raw(b"")
    type: msgspec.Raw = msgspec.Raw(b"")
    delta: msgspec.Raw = msgspec.Raw(b"")


class Choice(msgspec.Struct):
    """A choice of a chat chunk."""

    index: int | None = None
    finish_reason: str | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


class MessageDelta(msgspec.Struct):
    """The delta of Anthropic's `message_delta`."""

    stop_reason: str | None = None


EVENT = msgspec.json.Decoder(EventFields)
CHOICES = msgspec.json.Decoder(list[Choice])
RESPONSE = msgspec.json.Decoder(FailedResponse)
DELTA = msgspec.json.Decoder(MessageDelta)
ANY = msgspec.json.Decoder()

T = TypeVar("T")


def is_complete(event: bytes) -> bool:
    """True if the data of an event without its blank line is complete."""
    data = b"\n".join(DATA.findall(event)).strip()
    if data == b"[DONE]":
        return True
    try:
        msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def choices_of(raw: msgspec.Raw) -> list[Choice]:
    """Returns the choices of a chunk; none where they cannot be read."""
    return (decode_event(CHOICES, raw) if len(raw) > 2 else None) or []


def is_stopped(delta: msgspec.Raw) -> bool:
    """True if the delta has a stop reason."""
    decoded = decode_event(DELTA, delta)
    return decoded is not None and bool(decoded.stop_reason)


def is_error_document(data: bytes) -> bool:
    """True if the data of an event is an error of any shape in use."""
    document: Any = decode_event(ANY, data)
    return looks_like_error(document)


def decode_event(decoder: msgspec.json.Decoder[T], data: bytes | msgspec.Raw) -> T | None:
    """Returns what the decoder reads; None for what it refuses."""
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, RecursionError):
        return None
