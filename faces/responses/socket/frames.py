"""Frames of the socket: what a client sends, and the events that it gets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import msgspec

from core_app.errors import BadRequest, GatewayError
from inference_app.conversion import exact_json
from inference_app.relay import OPENAI
from inference_app.relay.body_fields import read_fields

Json = dict[str, Any]

STREAM_ID = re.compile(r"[A-Za-z0-9_.-]{1,256}")
MAX_TYPE = 64


@dataclass(frozen=True, slots=True)
class ClientFrame:
    """One frame: its type, the lane that it names, and all of it."""

    type: str
    stream_id: str | None
    raw: bytes


def parse_frame(raw: bytes) -> ClientFrame:
    """Returns the frame; raises BadRequest for one that is no object with a known form."""
    try:
        fields = dict(read_fields(raw))
        kind, lane = (msgspec.json.decode(fields.get(name, b"null")) for name in ("type", "stream_id"))
    except (ValueError, RecursionError):
        raise BadRequest("A frame must be a JSON object.") from None
    if not isinstance(kind, str):
        raise BadRequest("'type' must be 'response.create' or 'response.steer'.", field="type")
    if lane is not None and (not isinstance(lane, str) or STREAM_ID.fullmatch(lane) is None):
        raise BadRequest("'stream_id' must have 1 to 256 letters, digits, '_', '-' or '.'.", field="stream_id")
    return ClientFrame(kind, lane, raw)


def encode_event(event: Json, stream_id: str | None) -> str:
    """Returns the frame of an event; it names its lane if the request did."""
    return exact_json.encode(event if stream_id is None else {**event, "stream_id": stream_id}).decode()


def encode_error(error: GatewayError, stream_id: str | None) -> str:
    """Returns the frame of an error: what its response would be over HTTP."""
    body = dict(OPENAI.body(error)["error"])
    if error.retry_after is not None:
        body["headers"] = {"retry-after": str(error.retry_after)}
    return encode_event({"type": "error", "status": error.status, "error": body}, stream_id)
