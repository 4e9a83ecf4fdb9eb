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
    """The id of the call."""

    tool_name: str
    """The name of the tool."""

    args: Any
    """The arguments of the call."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolExecutionEnd(Event):
    """`result` is text of at most 64 KiB; what was longer is cut and `truncated` says so."""

    type: ClassVar[str] = "tool_execution_end"
    call_id: str
    """The id of the call."""

    tool_name: str
    """The name of the tool."""

    status: Literal["ok", "error", "rejected", "timeout", "unknown"]
    """How the call ended; `unknown`: it may have taken effect."""

    result: str
    """The result as text, or what went wrong."""

    duration_ms: int
    """The duration of the call in milliseconds."""

    truncated: bool = False
    """True when `result` was longer and is cut."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalRequired(Event):
    type: ClassVar[str] = "approval_required"
    approval_id: str
    """The approval, as `approve` and `reject` name it."""

    call_id: str
    """The id of the call that waits."""

    tool_name: str
    """The name of the tool."""

    args: Any
    """The arguments of the call."""

    args_hash: str
    """The hash of the arguments; sent back, it binds the decision to them."""

    hint: str | None
    """The tool's hint for the person who decides; null without one."""

    requested_at: str
    """The moment from which the call waits."""

    expires_at: str
    """The moment at which the call counts as rejected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ApprovalResolved(Event):
    type: ClassVar[str] = "approval_resolved"
    approval_id: str
    """The approval."""

    status: Literal["approved", "rejected", "expired"]
    """The decision, or `expired` without one."""

    by: str | None
    """Who decided: a key or a user; null when nobody did."""

    comment: str | None
    """The remark of who decided; null without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AskUser(Event):
    type: ClassVar[str] = "ask_user"
    ref: str
    """The question, as `respond` names it."""

    question: str
    """The question for the user."""

    options: list[dict[str, str]]
    """The choices, each with `id` and `label`; empty for an answer in words."""

    expires_at: str
    """The moment at which the question ends without an answer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class QuestionResolved(Event):
    type: ClassVar[str] = "question_resolved"
    ref: str
    """The question."""

    status: Literal["answered", "expired", "cancelled"]
    """How the question ended."""

    response: str | None
    """The answer; null without one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCallRequested(Event):
    type: ClassVar[str] = "tool_call_requested"
    call_id: str
    """The call, as `tool-results` names it."""

    tool_name: str
    """The name of the tool to run."""

    args: Any
    """The arguments of the call."""

    expires_at: str
    """The moment at which the call ends without a result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolCallUnknown(Event):
    type: ClassVar[str] = "tool_call_unknown"
    call_id: str
    """The id of the call."""

    tool_name: str
    """The name that no tool has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolUnavailable(Event):
    """A tool of an MCP server that the model is not offered in this run; all of them where `tool_name` is None."""

    type: ClassVar[str] = "tool_unavailable"
    server: str
    """The MCP server."""

    tool_name: str | None
    """The tool at the server; null for all of them."""

    reason: str
    """Why the model is not offered it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolTested(Event):
    """Somebody calls a tool without a model. Appended before the call is made."""

    type: ClassVar[str] = "tool_tested"
    call_id: str
    """The id of the call."""

    tool_name: str
    """The name of the tool."""

    args: Any
    """The arguments of the call."""

    by: str
    """Who tests the tool."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolAttached(Event):
    type: ClassVar[str] = "tool_attached"
    tool_name: str
    """The tool that the session has now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolDetached(Event):
    type: ClassVar[str] = "tool_detached"
    tool_name: str
    """The tool that the session no longer has."""
