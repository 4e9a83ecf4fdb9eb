"""The events of a session, typed: one class per type, with the fields of its data as attributes in snake_case.

Every event has `type`, `id` (its position, opaque) and `data` as it came. A type that this version does not know is an
`Event`, because the gateway adds types. An attribute that the data lacks is None.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec


def camel_case(name: str) -> str:
    """Returns the name of a field on the wire."""
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


class _Field:
    """An attribute that reads its value from the data of the event."""

    def __init__(self, wire_name: str) -> None:
        self.wire_name = wire_name

    def __get__(self, event: Event | None, owner: type[Event]) -> Any:
        return self if event is None else event.data.get(self.wire_name)


class Event:
    """An event of any type. `request_id` is the run's, None outside of one; `at` is the time as ISO text."""

    __slots__ = ("data", "id", "type")

    kind: ClassVar[str] = ""
    request_id: str | None = _Field("requestId")  # type: ignore[assignment]
    at: str = _Field("at")  # type: ignore[assignment]
    session_id: str | None = _Field("sessionId")  # type: ignore[assignment]

    def __init__(self, type: str, data: dict[str, Any], id: str) -> None:
        self.type = type
        self.data = data
        self.id = id

    def __init_subclass__(cls) -> None:
        special: Mapping[str, str] = {"from_model": "from", "to_model": "to", "from_position": "from", "to": "to"}
        for name in cls.__annotations__:
            if name != "kind":
                setattr(cls, name, _Field(special.get(name) or camel_case(name)))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(type={self.type!r}, id={self.id!r}, data={self.data!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Event) and (self.type, self.id, self.data) == (other.type, other.id, other.data)

    def __hash__(self) -> int:
        return hash((self.type, self.id))

    @property
    def is_terminal(self) -> bool:
        """True for the event that ends its run."""
        return self.type in TERMINAL_TYPES


class PromptReceived(Event):
    kind = "prompt_received"
    text: str
    queued: bool


class AgentStart(Event):
    kind = "agent_start"
    model: str


class MessageStart(Event):
    kind = "message_start"
    message_id: str


class MessageDelta(Event):
    kind = "message_delta"
    message_id: str
    delta: str


class MessageEnd(Event):
    kind = "message_end"
    message_id: str
    content: str


class ThinkingStart(Event):
    kind = "thinking_start"


class ThinkingDelta(Event):
    kind = "thinking_delta"
    delta: str


class ToolCalls(Event):
    kind = "tool_calls"
    count: int


class ToolExecutionStart(Event):
    kind = "tool_execution_start"
    call_id: str
    tool_name: str
    args: Any


class ToolExecutionEnd(Event):
    """The result of a call. `status` is `ok`, `error`, `rejected`, `timeout` or `unknown`."""

    kind = "tool_execution_end"
    call_id: str
    tool_name: str
    status: str
    result: str
    duration_ms: int
    truncated: bool


class ApprovalRequired(Event):
    kind = "approval_required"
    approval_id: str
    call_id: str
    tool_name: str
    args: Any
    args_hash: str
    hint: str | None
    requested_at: str
    expires_at: str


class ApprovalResolved(Event):
    kind = "approval_resolved"
    approval_id: str
    status: str
    by: str | None
    comment: str | None


class AskUser(Event):
    """A question to the user. `options` is a list of `{"id", "label"}`; an empty one asks for free text."""

    kind = "ask_user"
    ref: str
    question: str
    options: list[dict[str, str]]
    expires_at: str


class QuestionResolved(Event):
    kind = "question_resolved"
    ref: str
    status: str
    response: str | None


class ErrorEvent(Event):
    """Something failed; the run may go on."""

    kind = "error"
    code: str
    reason: str
    retryable: bool


class AgentEnd(Event):
    """The end of a run with its answer. `last_message` is `{"role", "content"}`."""

    kind = "agent_end"
    last_message: dict[str, str]
    token_usage: dict[str, int]
    cost_usd: float
    cost_known: bool
    duration_ms: int


class AgentAbort(Event):
    """The end of a run without an answer."""

    kind = "agent_abort"
    reason: str
    message: str


class ToolCallRequested(Event):
    kind = "tool_call_requested"
    call_id: str
    tool_name: str
    args: Any
    expires_at: str


class ToolCallUnknown(Event):
    kind = "tool_call_unknown"
    call_id: str
    tool_name: str


class ModelSwitched(Event):
    kind = "model_switched"
    model: str
    previous: str


class ModelFallback(Event):
    kind = "model_fallback"
    from_model: str
    to_model: str
    reason: str


class ToolAttached(Event):
    kind = "tool_attached"
    tool_name: str


class ToolDetached(Event):
    kind = "tool_detached"
    tool_name: str


class ToolTested(Event):
    kind = "tool_tested"
    call_id: str
    tool_name: str
    args: Any
    by: str


class ToolUnavailable(Event):
    """A tool of an MCP server that the model is not offered; all of the server's where `tool_name` is None."""

    kind = "tool_unavailable"
    server: str
    tool_name: str | None
    reason: str


class Steering(Event):
    kind = "steering"
    text: str


class SteeringUndelivered(Event):
    kind = "steering_undelivered"
    text: str


class RunRetried(Event):
    """The partial text of the attempt before is void."""

    kind = "run_retried"
    attempt: int
    reason: str


class ProviderWaiting(Event):
    kind = "provider_waiting"
    until: str
    reason: str


class ProviderResumed(Event):
    kind = "provider_resumed"


class ContextTruncated(Event):
    kind = "context_truncated"
    messages: int
    tokens: int
    results: int = 0


class ContextSummarized(Event):
    kind = "context_summarized"
    messages: int
    tokens: int


class AgentEvent(Event):
    """Something that an external agent tells: `name` is its word, `data["data"]` its JSON."""

    kind = "agent_event"
    name: str


class SessionUpdated(Event):
    kind = "session_updated"
    changed: dict[str, Any]


class SessionClosed(Event):
    kind = "session_closed"


class EventsDropped(Event):
    """Events that the caller misses, because they are no longer kept. With the `reason` `reset` they are lost: whatever
    the caller has after the position `to` is void."""

    kind = "events_dropped"
    from_position: int | str
    to: int | str
    reason: str | None


TERMINAL_TYPES = frozenset({AgentEnd.kind, AgentAbort.kind})
"""The types that end a run; a run has exactly one such event."""


def event_decode(type_: str, data: str | bytes | dict[str, Any], position: str) -> Event:
    """Makes the event of its type from data as JSON or as an object."""
    fields = data if isinstance(data, dict) else msgspec.json.decode(data, type=dict[str, Any])
    return EVENT_TYPES.get(type_, Event)(type_, fields, position)


EVENT_TYPES: Mapping[str, type[Event]] = {kind.kind: kind for kind in Event.__subclasses__()}
"""Every typed event by its name on the wire."""
