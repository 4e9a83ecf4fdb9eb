"""Events of a session as the Agentbus protocol shows them (docs/protocol-agentbus.md, "Events").

A connection that sends to a session sees its conversation (`chat.*`, `session.update`); one that follows it
(`events.follow`) sees every native event as `session.event`; one that does both sees both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from agents_app.events import MessageDelta, MessageStart
from core_app import jsontext
from events_app.batches import Encoder, StoredEvent
from events_app.generations import Position
from events_app.positions import Dropped
from sessions_app.events import (
    AgentAbort,
    AgentEnd,
    AgentStart,
    ErrorEvent,
    MessageEnd,
    RunRetried,
    SessionClosed,
    SessionUpdated,
)
from tools_app.events import ApprovalRequired, AskUser

MAX_CONTENT = 64 * 1024
"""Characters of the text so far that every `chat.stream` repeats; of a longer one only the last event has it all."""

_DATA: Encoder[str] = Encoder(lambda event: event.data.decode())

Shown = tuple[str, str]
"""The name of an event, and its payload as JSON text."""


class SessionView:
    """The view that one connection has of one session. `conversation` and `native` may be switched on at any time."""

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.conversation = False
        self.native = False
        self._text: list[str] = []
        self._length = 0
        self._whole = False
        """True when `_text` holds the message that is being written from its beginning."""

    def show(self, event: StoredEvent) -> Iterator[Shown]:
        """Yields what the connection gets for an event of the log."""
        if self.native:
            yield "session.event", self._native(event)
        if self.conversation:
            yield from self._conversation(event, jsontext.decode(event.data))

    def show_dropped(self, after: Position, dropped: Dropped) -> Iterator[Shown]:
        """Yields what the connection gets for events that are no longer kept, or lost; the next ones come after
        `after`."""
        self._whole = False
        if self.native:
            payload = {"session_id": self.session_id, "event": "events_dropped", "data": dropped, "id": after.wire}
            yield _shown("session.event", payload)
        if self.conversation:
            yield _shown("session.update", {"session_id": self.session_id, "state": "dropped", **dropped})

    def _quoted_id(self) -> str:
        return jsontext.encode_text(self.session_id)

    def _native(self, event: StoredEvent) -> str:
        data, position = event.encode(_DATA), jsontext.encode_text(event.position.wire)
        return f'{{"session_id":{self._quoted_id()},"event":"{event.type}","data":{data},"id":{position}}}'

    def _conversation(self, event: StoredEvent, data: Mapping[str, Any]) -> Iterator[Shown]:
        names = {"run_id": event.run_id, "session_id": self.session_id}
        match event.type:
            case MessageStart.type:
                self._begin()
            case RunRetried.type:
                self._begin()
                yield _shown("session.update", names | {"state": "retried", "attempt": data["attempt"]})
            case MessageDelta.type:
                self._add(data["delta"])
                content = self._so_far() if self._whole else None
                yield _shown("chat.stream", names | {"content": content, "delta": data["delta"], "done": False})
            case MessageEnd.type:
                message = {"message_id": data["messageId"], "role": "assistant", "content": data["content"]}
                yield _shown("chat.message", names | message | ({"truncated": True} if _was_cut(data) else {}))
            case AgentStart.type:
                yield _shown("session.update", names | {"state": "working", "model": data["model"]})
            case AgentEnd.type:
                content = None if _was_cut(data) else (data["lastMessage"] or {}).get("content", "")
                yield _shown("chat.stream", names | {"content": content, "delta": "", "done": True})
                yield _shown("session.update", names | {"state": "completed", "usage": data["tokenUsage"]})
            case ErrorEvent.type:
                error = {"code": data["code"], "message": data["reason"], "retryable": data["retryable"]}
                yield _shown("chat.error", names | error)
            case AgentAbort.type:
                partial = self._so_far() if self._whole else ""
                yield _shown("chat.stream", names | {"content": partial, "delta": "", "done": True})
                state = "aborted" if data["reason"] == "aborted" else "failed"
                yield _shown("session.update", names | {"state": state, "reason": data["reason"]})
            case ApprovalRequired.type:
                yield _shown("chat.approval", names | _snake(data))
            case AskUser.type:
                yield _shown("chat.question", names | _snake(data))
            case SessionUpdated.type:
                yield _shown("session.update", names | {"state": "updated", "changed": data["changed"]})
            case SessionClosed.type:
                yield _shown("session.update", names | {"state": "closed"})

    def _begin(self) -> None:
        self._text, self._length, self._whole = [], 0, True

    def _so_far(self) -> str | None:
        return "".join(self._text) if self._length <= MAX_CONTENT else None

    def _add(self, delta: str) -> None:
        if self._length <= MAX_CONTENT:
            self._text.append(delta)
            self._length += len(delta)


def _was_cut(data: Mapping[str, Any]) -> bool:
    """Returns True for an event that was too large for the log, which has the beginning of its texts."""
    return bool(data.get("truncated"))


def _shown(event: str, payload: Mapping[str, Any]) -> Shown:
    return event, jsontext.encode_text(payload)


def _snake(data: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the native event's own fields in snake_case; values are left as they are."""
    return {
        "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name): value
        for name, value in data.items()
        if name != "requestId"
    }
