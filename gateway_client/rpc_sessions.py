"""Positions of the sessions that an RPC connection sees, so that a reconnection repeats nothing and misses nothing.

The gateway sends each native event as `session.event` and after it the `chat.*` events that it stands for, which have
no position. A connection may break in between. So the client resumes one event earlier, and withholds what its caller
has already: everything up to the last native event, and as many of the following `chat.*` events as were handed on.
"""

from __future__ import annotations

from typing import Any

NATIVE = "session.event"
DROPPED = "events_dropped"
CONVERSATION = frozenset(
    {"chat.stream", "chat.message", "chat.error", "chat.approval", "chat.question", "session.update"}
)
BEGINNING = "0"


class SessionPosition:
    """The place in one session."""

    def __init__(self, *, since: str | None = None, run_id: str | None = None) -> None:
        self.before = since
        """The position to resume after; None stands for the session's beginning."""
        self.last: str | None = None
        """The last native event that was handed on."""
        self.run_id = run_id
        """The run whose prompt is the first event to hand on, before the first native event."""
        self.conversation = run_id is not None
        self._handed_on = 0
        """The `chat.*` events since then."""
        self._finding = False
        self._withheld = 0

    @property
    def is_known(self) -> bool:
        """False for a session that is followed from an unknown position and has shown nothing yet."""
        return self.conversation or self.last is not None or self.before is not None

    def resume(self) -> str:
        """Returns the position to ask for, and withholds from now on what was handed on before."""
        if not self.conversation:
            return self.last or self.before or BEGINNING
        self._finding = self.last is not None or self.before is None
        self._withheld = self._handed_on
        return self.before or BEGINNING

    def admits(self, name: str, payload: dict[str, Any]) -> bool:
        """True for an event that the caller has not had yet; notes it as handed on."""
        return self._admits_native(payload) if name == NATIVE else self._admits_conversation()

    def _admits_native(self, payload: dict[str, Any]) -> bool:
        position = str(payload["id"])
        dropped = payload["event"] == DROPPED
        if self._finding:
            if dropped and self.before is not None:
                self._finding, self._withheld = False, 0
            elif self.last is not None:
                self._finding = position != self.last
                return False
            elif not self._is_first(payload):
                return False
            else:
                self._finding = False
                self.last = position
                return True
        self.before = position if dropped else (self.last or self.before)
        self.last = None if dropped else position
        # Without a native event before the break, the withheld events belong to several that come now.
        self._handed_on = self._withheld
        return True

    def _is_first(self, payload: dict[str, Any]) -> bool:
        return bool(payload["event"] == "prompt_received" and payload["data"].get("requestId") == self.run_id)

    def _admits_conversation(self) -> bool:
        if self._finding or not self.conversation:
            return False
        if self._withheld:
            self._withheld -= 1
            return False
        self._handed_on += 1
        return True


class SessionPositions:
    """The places in all sessions of a connection."""

    def __init__(self) -> None:
        self._sessions: dict[str, SessionPosition] = {}

    def note_prompt(self, session_id: str, run_id: str) -> None:
        """Notes a session that was sent to."""
        known = self._sessions.get(session_id)
        if known is None:
            self._sessions[session_id] = SessionPosition(run_id=run_id)
        else:
            known.conversation = True

    def note_follow(self, session_id: str, since: str | None) -> None:
        """Notes a session that is followed."""
        self._sessions.setdefault(session_id, SessionPosition(since=since))

    def forget(self, session_id: str) -> None:
        self._sessions.pop(session_id, None)

    def resume(self) -> dict[str, str]:
        """Returns the positions that `connect` takes as `last_seq`."""
        return {name: position.resume() for name, position in self._sessions.items() if position.is_known}

    def unknown(self) -> list[str]:
        """Returns the sessions that cannot be resumed, and are followed anew."""
        return [name for name, position in self._sessions.items() if not position.is_known]

    def comes_again(self, name: str, payload: Any) -> bool:
        """True for an event that a resumed connection shows again, unless it was handed on."""
        if name != NATIVE and name not in CONVERSATION:
            return False
        position = self._sessions.get(payload.get("session_id", ""))
        return position is not None and position.is_known

    def admits(self, name: str, payload: Any) -> bool:
        """True for an event that is to be handed on."""
        if name != NATIVE and name not in CONVERSATION:
            return True
        position = self._sessions.get(payload.get("session_id", ""))
        return position is None or position.admits(name, payload)
