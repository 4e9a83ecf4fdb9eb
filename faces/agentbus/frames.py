"""Frames of the Agentbus protocol: one JSON object per text frame (docs/protocol-agentbus.md, "Frames")."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest, GatewayError
from edge_app.rpc import Request
from edge_app.sockets.frames import FrameRefused
from faces.agentbus.errors import error_object

MAX_ID_CHARACTERS = 256
MAX_METHOD_CHARACTERS = 128

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_REQUEST_KEYS = frozenset({"type", "id", "method", "params", "timestamp"})
_EVENT_KEYS = frozenset({"type", "event", "payload", "seq", "timestamp"})


@dataclass(frozen=True, slots=True)
class ClientEvent:
    """An event that the client sent; none of them is answered."""

    event: str
    payload: Mapping[str, Any]


def frame_refused(message: str, request_id: str | int | None = None) -> FrameRefused:
    """Returns the exception for a frame that is neither a request nor an event."""
    return FrameRefused(encode_refusal(request_id, BadRequest(message)))


def parse_frame(raw: bytes) -> Request | ClientEvent:
    """Parses a frame; raises FrameRefused, with the request's id where one can be read."""
    try:
        value = jsontext.decode_untrusted(raw)
    except BadRequest as error:
        raise frame_refused(error.message.replace("The body", "The frame")) from None
    if not isinstance(value, dict):
        raise frame_refused("A frame is a JSON object.")
    if value.get("type") == "event":
        return _parse_event(value)
    request_id = value.get("id")
    if not _is_id(request_id):
        raise frame_refused(f"'id' is required: text of 1 to {MAX_ID_CHARACTERS} characters, or an integer.")
    if jsontext.holds_unsafe_text(raw):
        readable = None if _REPLACEMENT in str(request_id) else request_id
        raise frame_refused("A frame holds no NUL and no lone surrogate.", readable)
    if value.get("type") != "req":
        raise frame_refused("'type' is 'req' for a request and 'event' for an event.", request_id)
    if not value.keys() <= _REQUEST_KEYS:
        extra = sorted(value.keys() - _REQUEST_KEYS)
        raise frame_refused(f"A request has no field {extra[0][:64]!r}.", request_id)
    method, params = value.get("method"), value.get("params")
    if not isinstance(method, str) or not 0 < len(method) <= MAX_METHOD_CHARACTERS:
        raise frame_refused("'method' is required, and is text.", request_id)
    if params is not None and not isinstance(params, dict):
        raise frame_refused("'params' is an object or null.", request_id)
    _check_timestamp(value, request_id)
    return Request(method, request_id, params or {})


def _parse_event(value: Mapping[str, Any]) -> ClientEvent:
    name, payload = value.get("event"), value.get("payload")
    if extra := sorted(value.keys() - _EVENT_KEYS):
        raise frame_refused(f"An event has no field {extra[0][:64]!r}.")
    if not isinstance(name, str) or not name:
        raise frame_refused("'event' is required, and is text.")
    if payload is not None and not isinstance(payload, dict):
        raise frame_refused("'payload' is an object or null.")
    _check_timestamp(value, None)
    return ClientEvent(name, payload or {})


def _is_id(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int) or (isinstance(value, str) and 0 < len(value) <= MAX_ID_CHARACTERS)


def _check_timestamp(value: Mapping[str, Any], request_id: str | int | None) -> None:
    stamp = value.get("timestamp")
    if stamp is not None and (isinstance(stamp, bool) or not isinstance(stamp, int | float)):
        raise frame_refused("'timestamp' is a number of seconds.", request_id)


def encode_reply(request_id: str | int | None, payload: Any) -> str:
    """Returns the response to a request that was done."""
    return jsontext.encode_text(
        {"type": "res", "id": request_id, "ok": True, "payload": payload, "error": None, "timestamp": time.time()}
    )


def encode_refusal(request_id: str | int | None, error: GatewayError) -> str:
    """Returns the response to a request that was refused or failed."""
    rendered = error_object(error)
    return jsontext.encode_text(
        {"type": "res", "id": request_id, "ok": False, "payload": None, "error": rendered, "timestamp": time.time()}
    )


def encode_event(event: str, payload: str, seq: int) -> str:
    """Returns an event; `payload` is JSON text, so that one that goes to many connections is encoded once."""
    return f'{{"type":"event","event":"{event}","payload":{payload},"seq":{seq},"timestamp":{time.time()!r}}}'
