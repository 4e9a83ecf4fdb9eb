"""Frames of the native socket: one JSON object each, text or binary alike.

docs/protocol-native.md, "The WebSocket".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest, GatewayError
from edge_app.http.errors import error_body
from edge_app.rpc import Request
from edge_app.sockets.frames import FrameRefused
from events_app.batches import Encoder, StoredEvent
from events_app.generations import Position
from events_app.positions import Dropped

MAX_REF_CHARACTERS = 256


def _event_frame(event: StoredEvent) -> str:
    position = event.position
    shown = f'"{position}"' if position.generation else str(position)
    return f'{{"event":"{event.type}","data":{event.data.decode()},"id":{shown}}}'


EVENT_FRAME: Encoder[str] = Encoder(_event_frame)
"""The frame of an event: text, because ASGI sends bytes as binary frames."""


def parse_frame(raw: bytes) -> Request:
    """Parses a frame: `action` is the method, `requestRef` the id, the other fields are parameters. Raises FrameRefused
    unless it is a JSON object with an action."""
    try:
        value = jsontext.decode_untrusted(raw)
    except BadRequest as error:
        message = error.message.replace("The body", "The frame")
        raise FrameRefused(encode_refusal(None, BadRequest(message))) from None
    if not isinstance(value, dict):
        raise FrameRefused(encode_refusal(None, BadRequest("A frame is a JSON object with an 'action'.")))
    ref, action = value.pop("requestRef", None), value.pop("action", None)
    if isinstance(ref, bool) or not isinstance(ref, str | int | None) or len(str(ref)) > MAX_REF_CHARACTERS:
        wrong = BadRequest(f"'requestRef' is text of at most {MAX_REF_CHARACTERS} characters.", field="requestRef")
        raise FrameRefused(encode_refusal(action if isinstance(action, str) else None, wrong))
    if not isinstance(action, str):
        missing = BadRequest("'action' is required, and is text.", field="action")
        raise FrameRefused(encode_refusal(None, missing, ref))
    return Request(action, ref, value)


def encode_reply(request: Request, result: Mapping[str, Any]) -> str:
    """Returns the reply to an action that was done."""
    return _with_ref({"ok": True, "action": request.method, **result}, request.id)


def encode_refusal(action: str | None, error: GatewayError, ref: str | int | None = None) -> str:
    """Returns the reply to an action that was refused or failed."""
    body = {"ok": False, "action": action, **error_body(error)}
    if error.retry_after is not None:
        # A frame has no headers, where REST has `Retry-After`.
        body["retryAfter"] = error.retry_after
    return _with_ref(body, ref)


def encode_dropped(after: Position, dropped: Dropped) -> str:
    """Returns the frame that says which events the client misses; it goes on after `after`."""
    return jsontext.encode_text({"event": "events_dropped", "data": dict(dropped), "id": after.wire})


def _with_ref(body: dict[str, Any], ref: str | int | None) -> str:
    if ref is not None:
        body["requestRef"] = ref
    return jsontext.encode_text(body)
