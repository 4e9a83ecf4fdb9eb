"""The closed vocabulary of session events: one class per event (native contract, "Events").

A field that is not declared fails when the event is built; `encode` is the only way to the wire and adds
`requestId` and `at`. Names are snake_case here and camelCase on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from core_app import jsontext

REGISTRY: dict[str, type[Event]] = {}
"""Every event class by its wire type."""


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """Base of all events; subclasses name their wire `type`."""

    type: ClassVar[str] = ""
    terminal: ClassVar[bool] = False
    wire_names: ClassVar[tuple[tuple[str, str], ...] | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        # Not super(): `slots=True` makes the class twice, and the first one is another type.
        REGISTRY[cls.type] = cls

    def data(self) -> dict[str, Any]:
        """The event's own data, in wire names."""
        return {wire: getattr(self, name) for name, wire in self.wire_pairs()}

    @classmethod
    def wire_pairs(cls) -> tuple[tuple[str, str], ...]:
        """Every field with its name on the wire."""
        if cls.wire_names is None:
            cls.wire_names = tuple((field.name, _camel(field.name)) for field in fields(cls))
        return cls.wire_names

    def encode(self, *, request_id: str | None, at: str) -> bytes:
        """The whole data object as one line of JSON."""
        data = self.data()
        data["requestId"] = request_id
        data["at"] = at
        return jsontext.encode(data)


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptReceived(Event):
    type: ClassVar[str] = "prompt_received"
    text: str
    queued: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentStart(Event):
    type: ClassVar[str] = "agent_start"
    model: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageStart(Event):
    type: ClassVar[str] = "message_start"
    message_id: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageDelta(Event):
    type: ClassVar[str] = "message_delta"
    message_id: str
    delta: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MessageEnd(Event):
    type: ClassVar[str] = "message_end"
    message_id: str
    content: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ThinkingStart(Event):
    type: ClassVar[str] = "thinking_start"


@dataclass(frozen=True, kw_only=True, slots=True)
class ThinkingDelta(Event):
    type: ClassVar[str] = "thinking_delta"
    delta: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCalls(Event):
    type: ClassVar[str] = "tool_calls"
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolExecutionStart(Event):
    type: ClassVar[str] = "tool_execution_start"
    call_id: str
    tool_name: str
    args: Any


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolExecutionEnd(Event):
    """`result` is text of at most 64 KiB; what was longer is cut and `truncated` says so."""

    type: ClassVar[str] = "tool_execution_end"
    call_id: str
    tool_name: str
    status: Literal["ok", "error", "rejected", "timeout"]
    result: str
    duration_ms: int
    truncated: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalRequired(Event):
    type: ClassVar[str] = "approval_required"
    approval_id: str
    call_id: str
    tool_name: str
    args: Any
    args_hash: str
    hint: str | None
    requested_at: str
    expires_at: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalResolved(Event):
    type: ClassVar[str] = "approval_resolved"
    approval_id: str
    status: Literal["approved", "rejected", "expired"]
    by: str | None
    comment: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class AskUser(Event):
    type: ClassVar[str] = "ask_user"
    ref: str
    question: str
    options: list[dict[str, str]]
    expires_at: str


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionResolved(Event):
    type: ClassVar[str] = "question_resolved"
    ref: str
    status: Literal["answered", "expired", "cancelled"]
    response: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class ErrorEvent(Event):
    type: ClassVar[str] = "error"
    code: str
    reason: str
    retryable: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentEnd(Event):
    type: ClassVar[str] = "agent_end"
    terminal: ClassVar[bool] = True
    last_message: dict[str, str]
    token_usage: dict[str, int]
    cost_usd: float
    cost_known: bool
    duration_ms: int


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentAbort(Event):
    type: ClassVar[str] = "agent_abort"
    terminal: ClassVar[bool] = True
    reason: Literal["aborted", "error", "deleted", "max_turns", "budget", "timeout"]
    message: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCallRequested(Event):
    type: ClassVar[str] = "tool_call_requested"
    call_id: str
    tool_name: str
    args: Any
    expires_at: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCallUnknown(Event):
    type: ClassVar[str] = "tool_call_unknown"
    call_id: str
    tool_name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelSwitched(Event):
    type: ClassVar[str] = "model_switched"
    model: str
    previous: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFallback(Event):
    type: ClassVar[str] = "model_fallback"
    from_model: str
    to_model: str
    reason: str

    wire_names: ClassVar[tuple[tuple[str, str], ...] | None] = (
        ("from_model", "from"),
        ("to_model", "to"),
        ("reason", "reason"),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolAttached(Event):
    type: ClassVar[str] = "tool_attached"
    tool_name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolDetached(Event):
    type: ClassVar[str] = "tool_detached"
    tool_name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Steering(Event):
    type: ClassVar[str] = "steering"
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRetried(Event):
    """Drop the partial text of the attempt before."""

    type: ClassVar[str] = "run_retried"
    attempt: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextTruncated(Event):
    type: ClassVar[str] = "context_truncated"
    messages: int
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextSummarized(Event):
    type: ClassVar[str] = "context_summarized"
    messages: int
    tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionUpdated(Event):
    """The session's fields that changed, with their new values."""

    type: ClassVar[str] = "session_updated"
    changed: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class SessionClosed(Event):
    type: ClassVar[str] = "session_closed"


TERMINAL_TYPES = frozenset(name for name, cls in REGISTRY.items() if cls.terminal)
"""The events that end a run; a run has exactly one."""
