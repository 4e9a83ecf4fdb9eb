"""Events of a session as the Codelab protocol shows them (docs/protocol-codelab.md, "Frames").

Tool calls are not among them, because each goes to one socket only (`faces.codelab.offers`). An event that the protocol
has no frame for is not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents_app.events import MessageDelta
from core_app import jsontext
from events_app.batches import Encoder, StoredEvent
from faces.codelab.errors import AGENT_DOWN
from sessions_app.events import AgentAbort, AgentEnd, ErrorEvent, RunRetried, SessionUpdated

_ENGINE_FAILURES = frozenset(
    {"agent_down", "agent_timeout", "upstream_error", "provider_error", "provider_unavailable", "unavailable"}
)
"""Codes of runs that ended because the runtime or the model's provider did not answer."""


def _frames(event: StoredEvent) -> tuple[str, ...]:
    offset = event.position.wire
    match event.type:
        case MessageDelta.type:
            token = jsontext.decode(event.data)["delta"]
            return (_frame("assistant_message", offset, token=token, is_final=False),)
        case AgentEnd.type:
            return (_frame("assistant_message", offset, token="", is_final=True),)  # a piece of text
        case ErrorEvent.type:
            data = jsontext.decode(event.data)
            return (_frame("error", offset, content=data["reason"], code=_code(data["code"])),)
        case AgentAbort.type:
            return (*_abort(event, offset), _frame("assistant_message", offset, token="", is_final=True))
        case RunRetried.type:
            return (_frame("run_retried", offset, attempt=jsontext.decode(event.data)["attempt"]),)
        case SessionUpdated.type:
            return _switched(jsontext.decode(event.data)["changed"], offset)
    return ()


def _abort(event: StoredEvent, offset: int | str) -> Sequence[str]:
    """A run that failed has told its error already, and one that the client aborted has none."""
    data = jsontext.decode(event.data)
    if data["reason"] in ("error", "aborted"):
        return ()
    return [_frame("error", offset, content=data["message"], code=data["reason"].upper())]


def _switched(changed: Any, offset: int | str) -> tuple[str, ...]:
    if "agent" not in changed:
        return ()
    return (_frame("agent_switched", offset, agent_type=changed["agent"], reason=changed.get("reason")),)


def _code(code: str) -> str:
    return AGENT_DOWN if code in _ENGINE_FAILURES else code.upper()


def _frame(kind: str, offset: int | str, **fields: Any) -> str:
    return jsontext.encode_text({"type": kind, **fields, "offset": offset})


FRAMES: Encoder[tuple[str, ...]] = Encoder(_frames)
"""The frames of an event, encoded once per process for all sockets that show it."""
