"""What clients send and what they are answered: one JSON object per frame, text or binary alike.

A large frame is read in a thread: strict JSON of a mebibyte takes long enough to be felt by every other socket.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core_app import jsontext
from core_app.errors import BadRequest, GatewayError
from edge_app.http.errors import error_body

MAX_FRAME_BYTES = 1024 * 1024
"""The contract's; the server itself takes more, for protocols that allow it."""

READ_ON_THE_LOOP = 16 * 1024
MAX_REF_CHARACTERS = 256


@dataclass(frozen=True, slots=True)
class Frame:
    """An action with its fields; `ref` is the client's `requestRef`, None when it sent none."""

    action: str
    ref: str | int | None
    data: Mapping[str, Any]


class FrameRefused(Exception):
    """A frame that is answered without being acted on; `answer` is the encoded answer."""

    def __init__(self, answer: str) -> None:
        super().__init__(answer)
        self.answer = answer


def frame_bytes(message: Mapping[str, Any]) -> bytes | None:
    """The bytes of an ASGI message's frame; None when there are more than MAX_FRAME_BYTES."""
    text = message.get("text")
    if text is not None and len(text) > MAX_FRAME_BYTES:
        return None
    raw: bytes = message.get("bytes") or b"" if text is None else text.encode("utf-8", "surrogatepass")
    return raw if len(raw) <= MAX_FRAME_BYTES else None


async def frame_read(raw: bytes) -> Frame:
    """The frame; FrameRefused for what is no JSON object with an action."""
    if len(raw) <= READ_ON_THE_LOOP:
        return _frame(raw)
    return await asyncio.to_thread(_frame, raw)


def answer(frame: Frame, result: Mapping[str, Any]) -> str:
    """The answer to an action that was done."""
    return _with_ref({"ok": True, "action": frame.action, **result}, frame.ref)


def refusal(action: str | None, error: GatewayError, ref: str | int | None = None) -> str:
    """The answer to one that was not."""
    return _with_ref({"ok": False, "action": action, **error_body(error)}, ref)


def dropped_frame(offset: int, dropped: Mapping[str, object]) -> str:
    """What is said in the place of events that are no longer kept, up to `offset`."""
    return jsontext.encode_text({"event": "events_dropped", "data": dict(dropped), "id": offset})


def _with_ref(body: dict[str, Any], ref: str | int | None) -> str:
    if ref is not None:
        body["requestRef"] = ref
    return jsontext.encode_text(body)


def _frame(raw: bytes) -> Frame:
    try:
        value = jsontext.decode_untrusted(raw)
    except BadRequest as error:
        raise FrameRefused(refusal(None, BadRequest(error.message.replace("The body", "The frame")))) from None
    if not isinstance(value, dict):
        raise FrameRefused(refusal(None, BadRequest("A frame is a JSON object with an 'action'.")))
    ref, action = value.pop("requestRef", None), value.pop("action", None)
    if isinstance(ref, bool) or not isinstance(ref, str | int | None) or len(str(ref)) > MAX_REF_CHARACTERS:
        wrong = BadRequest(f"'requestRef' is text of at most {MAX_REF_CHARACTERS} characters.", field="requestRef")
        raise FrameRefused(refusal(action if isinstance(action, str) else None, wrong))
    if not isinstance(action, str):
        raise FrameRefused(refusal(None, BadRequest("'action' is required, and is text.", field="action"), ref))
    return Frame(action, ref, value)
