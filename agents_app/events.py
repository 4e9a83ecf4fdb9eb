"""The events that an engine emits while it executes a leg.

They are appended to session streams; `sessions_app.events` has the whole vocabulary and its form on the wire.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from events_app.types import Event


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageStart(Event):
    type: ClassVar[str] = "message_start"
    message_id: str
    """The message, as its deltas name it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageDelta(Event):
    type: ClassVar[str] = "message_delta"
    message_id: str
    """The message that the text belongs to."""

    delta: str
    """The next piece of the text."""

    def split(self, characters: int) -> Sequence[Event]:
        """Deltas whose texts join to this one's."""
        if len(self.delta) <= characters:
            return (self,)
        return [replace(self, delta=piece) for piece in _pieces(self.delta, characters)]

    def join(self, following: Event, characters: int) -> Event | None:
        """One delta for two of the same message."""
        if (
            isinstance(following, MessageDelta)
            and following.message_id == self.message_id
            and len(self.delta) + len(following.delta) <= characters
        ):
            return MessageDelta(message_id=self.message_id, delta=self.delta + following.delta)
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class ThinkingStart(Event):
    type: ClassVar[str] = "thinking_start"


@dataclass(frozen=True, kw_only=True, slots=True)
class ThinkingDelta(Event):
    type: ClassVar[str] = "thinking_delta"
    delta: str
    """The next piece of the reasoning."""

    def split(self, characters: int) -> Sequence[Event]:
        """Deltas whose texts join to this one's."""
        if len(self.delta) <= characters:
            return (self,)
        return [replace(self, delta=piece) for piece in _pieces(self.delta, characters)]

    def join(self, following: Event, characters: int) -> Event | None:
        """One delta for two that follow each other."""
        if isinstance(following, ThinkingDelta) and len(self.delta) + len(following.delta) <= characters:
            return ThinkingDelta(delta=self.delta + following.delta)
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFallback(Event):
    type: ClassVar[str] = "model_fallback"
    from_model: str
    """The model that failed."""

    to_model: str
    """The model that the run continues with."""

    reason: str
    """Why the model before could not be used."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextTruncated(Event):
    """Older messages, or the middle of tool results, are no longer sent to the model. `messages` and `results` count
    them, `tokens` estimates what is left out."""

    type: ClassVar[str] = "context_truncated"
    messages: int
    """Messages that the model is not sent any more."""

    tokens: int
    """Estimated tokens of what is left out."""

    results: int = 0
    """Tool results whose middle the model is not sent any more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextSummarized(Event):
    type: ClassVar[str] = "context_summarized"
    messages: int
    """Messages that a summary replaces."""

    tokens: int
    """Estimated tokens of those messages."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentEvent(Event):
    """Something that an external agent tells and the gateway has no event of its own for. `name` is the agent's word,
    `data` the JSON that came with it."""

    type: ClassVar[str] = "agent_event"
    name: str
    """The agent's own word for it."""

    data: Any
    """The JSON that came with it."""


def _pieces(text: str, characters: int) -> Sequence[str]:
    return [text[start : start + characters] for start in range(0, len(text), characters)]
