"""Events of a session as the Codelab protocol shows them (docs/protocol-codelab.md, "Frames").

Tool calls are not among them, because each goes to one socket only (`faces.codelab.offers`). An event that the protocol
has no frame for is not shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents_app.events import AgentEvent, MessageDelta
from core_app import jsontext
from events_app.batches import Encoder, StoredEvent
from faces.codelab.errors import AGENT_DOWN
from sessions_app.agent_switches import parse_switch
from sessions_app.events import AgentAbort, AgentEnd, ErrorEvent, RunRetried, SessionUpdated

_ENGINE_FAILURES = frozenset({"upstream_error", "timeout"})
"""Codes of runs that ended because the runtime or the model's provider failed, broke off or did not answer in time
(`agents_app.agent_http`, `agents_app.failures`)."""


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
        case SessionUpdated.type | AgentEvent.type:
            return _switched(event, offset)
    return ()


def _abort(event: StoredEvent, offset: int | str) -> Sequence[str]:
    """A run that failed has told its error already, and one that the client aborted has none."""
    data = jsontext.decode(event.data)
    if data["reason"] in ("error", "aborted"):
        return ()
    return [_frame("error", offset, content=data["message"], code=data["reason"].upper())]


def _switched(event: StoredEvent, offset: int | str) -> tuple[str, ...]:
    """A switch by a client, or one between a runtime's own agents, which tells what it switched from."""
    switch = parse_switch(event.type, jsontext.decode(event.data))
    if switch is None:
        return ()
    former, agent, reason = switch
    told = {} if former is None else {"from_agent": former, "to_agent": agent}
    return (_frame("agent_switched", offset, agent_type=agent, reason=reason, **told),)


def _code(code: str) -> str:
    return AGENT_DOWN if code in _ENGINE_FAILURES else code.upper()


def _frame(kind: str, offset: int | str, **fields: Any) -> str:
    return jsontext.encode_text({"type": kind, **fields, "offset": offset})


FRAMES: Encoder[tuple[str, ...]] = Encoder(_frames)
"""The frames of an event, encoded once per process for all sockets that show it."""
