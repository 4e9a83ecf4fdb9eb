"""The events of tool calls, approvals and questions, and of the tools that a session has.

They are appended to session streams; `sessions_app.events` has the whole vocabulary and its form on the wire.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from events_app.types import Event


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
    status: Literal["ok", "error", "rejected", "timeout", "unknown"]
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
class ToolUnavailable(Event):
    """A tool of an MCP server that the model is not offered in this run; all of them where `tool_name` is None."""

    type: ClassVar[str] = "tool_unavailable"
    server: str
    tool_name: str | None
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolTested(Event):
    """Somebody calls a tool without a model. Appended before the call is made."""

    type: ClassVar[str] = "tool_tested"
    call_id: str
    tool_name: str
    args: Any
    by: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolAttached(Event):
    type: ClassVar[str] = "tool_attached"
    tool_name: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolDetached(Event):
    type: ClassVar[str] = "tool_detached"
    tool_name: str
