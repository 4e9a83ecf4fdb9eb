"""The vocabulary of session streams: the events of runs and sessions, and how every event of a session is encoded.

Events of tool calls are declared in `tools_app.events`, those that engines emit in `agents_app.events`. Fields have
snake_case names here and camelCase names on the wire, where every event also has `requestId` and `at`
(docs/protocol-native.md, "Events").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from agents_app.events import (
    AgentEvent,
    ContextSummarized,
    ContextTruncated,
    MessageDelta,
    MessageStart,
    ModelFallback,
    ThinkingDelta,
    ThinkingStart,
)
from core_app import jsontext
from events_app.types import Event, Vocabulary
from tools_app.events import (
    ApprovalRequired,
    ApprovalResolved,
    AskUser,
    QuestionResolved,
    ToolAttached,
    ToolCallRequested,
    ToolCallUnknown,
    ToolDetached,
    ToolExecutionEnd,
    ToolExecutionStart,
    ToolTested,
    ToolUnavailable,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptReceived(Event):
    type: ClassVar[str] = "prompt_received"
    text: str
    """The text of the prompt."""

    queued: bool
    """True when the run waits for the one before it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentStart(Event):
    type: ClassVar[str] = "agent_start"
    model: str
    """The model of the run's first leg."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageEnd(Event):
    type: ClassVar[str] = "message_end"
    message_id: str
    """The message, as in `message_start`."""

    content: str
    """The whole text of the message."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCalls(Event):
    type: ClassVar[str] = "tool_calls"
    count: int
    """How many tools the model called in one response."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorEvent(Event):
    type: ClassVar[str] = "error"
    code: str
    """A stable code."""

    reason: str
    """A sentence for people."""

    retryable: bool
    """Whether the same prompt may succeed later."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentEnd(Event):
    type: ClassVar[str] = "agent_end"
    last_message: dict[str, str]
    """The final answer, as `role` and `content`."""

    token_usage: dict[str, int]
    """Tokens of the run, by kind."""

    cost_usd: float
    """The cost of the run in US dollars, as far as prices are known."""

    cost_known: bool
    """False when the price of a model is unknown."""

    duration_ms: int
    """Milliseconds from the prompt to the end."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentAbort(Event):
    type: ClassVar[str] = "agent_abort"
    reason: Literal["aborted", "error", "deleted", "max_turns", "budget", "timeout"]
    """Why the run ended without an answer."""

    message: str
    """A sentence for people."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSwitched(Event):
    type: ClassVar[str] = "model_switched"
    model: str
    """The model from now on."""

    previous: str
    """The model before."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Steering(Event):
    type: ClassVar[str] = "steering"
    text: str
    """The text that joined the run."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SteeringUndelivered(Event):
    """A text that was accepted and that the run ended without."""

    type: ClassVar[str] = "steering_undelivered"
    text: str
    """The text that the run ended without."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderWaiting(Event):
    """The run waits for its provider and asks it again at `until`."""

    type: ClassVar[str] = "provider_waiting"
    until: str
    """The moment at which the provider is asked again."""

    reason: str
    """Why the provider cannot be asked now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ProviderResumed(Event):
    """The provider answers again."""

    type: ClassVar[str] = "provider_resumed"


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRetried(Event):
    """Drop the partial text of the attempt before."""

    type: ClassVar[str] = "run_retried"
    attempt: int
    """The number of the attempt that begins."""

    reason: str
    """Why the attempt before ended."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionUpdated(Event):
    """The session's fields that changed, with their new values."""

    type: ClassVar[str] = "session_updated"
    changed: dict[str, Any]
    """The new values, by the names of the fields."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionClosed(Event):
    type: ClassVar[str] = "session_closed"


class SessionVocabulary(Vocabulary):
    """Encodes events as the native protocol has them: the fields in camelCase, then `requestId` and `at`."""

    def __init__(self, kind: str, events: Sequence[type[Event]], *, webhooks: Sequence[type[Event]] = ()) -> None:
        super().__init__(kind, events, webhooks=webhooks)
        self._wire_names = {event: _wire_names(event) for event in events}

    def write(self, event: Event, run_id: str | None, at: str) -> bytes:
        """The whole wire object of the event."""
        data = {wire: getattr(event, name) for name, wire in self._wire_names[type(event)]}
        data["requestId"] = run_id
        data["at"] = at
        return jsontext.encode(data)

    def data(self, event: Event) -> dict[str, Any]:
        """The event's own data by wire names, without what every event has."""
        return {wire: getattr(event, name) for name, wire in self._wire_names[type(event)]}

    def wire_names(self, event: type[Event]) -> Sequence[tuple[str, str]]:
        """Every field of an event with its name on the wire."""
        return self._wire_names[event]


def _wire_names(event: type[Event]) -> tuple[tuple[str, str], ...]:
    special = SPECIAL_WIRE_NAMES.get(event, {})
    return tuple((field.name, special.get(field.name) or _camel_case(field.name)) for field in fields(event))


def _camel_case(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


SPECIAL_WIRE_NAMES: Mapping[type[Event], Mapping[str, str]] = {ModelFallback: {"from_model": "from", "to_model": "to"}}
"""Fields whose wire name is not their own name in camelCase."""

SESSION_EVENTS = SessionVocabulary(
    "session",
    [
        PromptReceived,
        AgentStart,
        MessageStart,
        MessageDelta,
        MessageEnd,
        ThinkingStart,
        ThinkingDelta,
        ToolCalls,
        ToolExecutionStart,
        ToolExecutionEnd,
        ApprovalRequired,
        ApprovalResolved,
        AskUser,
        QuestionResolved,
        ErrorEvent,
        AgentEnd,
        AgentAbort,
        ToolCallRequested,
        ToolCallUnknown,
        ModelSwitched,
        ModelFallback,
        ToolAttached,
        ToolDetached,
        ToolTested,
        ToolUnavailable,
        Steering,
        SteeringUndelivered,
        RunRetried,
        ProviderWaiting,
        ProviderResumed,
        ContextTruncated,
        ContextSummarized,
        AgentEvent,
        SessionUpdated,
        SessionClosed,
    ],
    webhooks=[ApprovalRequired, AskUser, AgentEnd, AgentAbort, SessionClosed],
)
"""The closed vocabulary of session streams. A new event is declared in the room that appends it and listed here
and in the table of docs/protocol-native.md; its wire names are camelCase unless SPECIAL_WIRE_NAMES has them."""

GROUP_EVENTS = SessionVocabulary("group", [])
"""Streams of groups take no event of their own: they count the events of the group's sessions."""

WEBHOOK_EVENTS = SESSION_EVENTS.webhooks
"""The event types that webhooks of sessions may subscribe to. Only `events_app.log` queues deliveries, so these events
are appended in a transaction and never sent through the flusher."""

TERMINAL_TYPES = frozenset({AgentEnd.type, AgentAbort.type})
"""The events that end a run; a run has exactly one."""
