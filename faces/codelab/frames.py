"""Frames of the Codelab socket: one JSON object each (docs/protocol-codelab.md, "Frames")."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest, GatewayError
from edge_app.http.errors import error_body
from edge_app.rpc import Request
from edge_app.sockets.frames import FrameRefused
from events_app.generations import Position
from events_app.positions import Dropped
from faces.codelab.errors import INVALID_FORMAT, frame_code

MAX_ID_CHARACTERS = 256

TYPES = ("user_message", "tool_result", "hitl_decision", "switch_agent", "abort")


def _refused(message: str, message_id: str | int | None = None) -> FrameRefused:
    return FrameRefused(_error(message, INVALID_FORMAT, message_id))


def parse_frame(raw: bytes) -> Request:
    """Parses a frame: `type` is the method, `message_id` the id, the other fields are parameters. Raises
    FrameRefused."""
    try:
        value = jsontext.decode_untrusted(raw)
    except BadRequest as error:
        raise _refused(error.message.replace("The body", "The frame")) from None
    if not isinstance(value, dict):
        raise _refused("A frame is a JSON object.")
    message_id, kind = value.pop("message_id", None), value.pop("type", None)
    if isinstance(message_id, bool) or not isinstance(message_id, str | int | None):
        raise _refused("'message_id' is text or a whole number.")
    if len(str(message_id)) > MAX_ID_CHARACTERS:
        raise _refused(f"'message_id' has at most {MAX_ID_CHARACTERS} characters.")
    if not isinstance(kind, str) or kind not in TYPES:
        raise _refused(f"'type' is one of {', '.join(TYPES)}.", message_id)
    return Request(kind, message_id, value)


def encode_received(message_id: str | int | None) -> str:
    """Returns the acknowledgement of a message that has been stored."""
    return jsontext.encode_text({"type": "ack", "status": "received", "message_id": message_id})


def encode_result_reply(call_id: Any, message_id: str | int | None, failure: str | None = None) -> str:
    """Returns the reply to a `tool_result`."""
    status, detail = ("ok", "The result was accepted.") if failure is None else ("error", failure)
    return _with_id({"type": "ack", "status": status, "detail": detail, "call_id": call_id}, message_id)


def encode_refusal(error: GatewayError, message_id: str | int | None = None, **more: Any) -> str:
    """Returns the `error` frame for a message that was refused or failed."""
    error_body(error)  # counts it
    if error.retry_after is not None:
        more["retry_after"] = error.retry_after
    return _error(error.message, frame_code(error), message_id, **more)


def encode_error(content: str, code: str, **more: Any) -> str:
    """Returns an `error` frame that answers no message."""
    return _error(content, code, None, **more)


def encode_dropped(after: Position, dropped: Dropped) -> str:
    """Returns the frame that says which events the client misses; it goes on after `after`."""
    return jsontext.encode_text({"type": "events_dropped", **dropped, "offset": after.wire})


def _error(content: str, code: str, message_id: str | int | None, **more: Any) -> str:
    return _with_id({"type": "error", "content": content, "code": code, **more}, message_id)


def _with_id(frame: Mapping[str, Any], message_id: str | int | None) -> str:
    return jsontext.encode_text(frame if message_id is None else {**frame, "message_id": message_id})
