"""The objects that the gateway returns, as frozen values. Unknown fields are ignored, because the gateway adds fields.

The names are those of the native protocol in snake_case. Times are ISO text. A position (`last_event_index`) is opaque.
"""

from __future__ import annotations

from typing import Any

import msgspec

Position = int | str


class Result(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base of all results."""


class SessionInfo(Result, frozen=True):
    """A session. `state` is `idle`, `working`, `waiting_approval`, `waiting_input`, `waiting_tool` or `closed`."""

    session_id: str
    state: str
    model: str
    agent: str | None
    title: str | None
    turns: int
    tool_calls: int
    total_tokens: int
    uptime_ms: int
    created_at: str
    updated_at: str
    last_event_index: Position
    user_data: dict[str, Any]
    group_id: str | None
    cost_usd: float = 0.0
    cost_known: bool = True


class SessionPage(Result, frozen=True):
    sessions: list[SessionInfo]
    next_cursor: str | None


class TokenUsage(Result, frozen=True):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0


class LastMessage(Result, frozen=True):
    role: str
    content: str


class RunError(Result, frozen=True):
    code: str
    reason: str


class RunInfo(Result, frozen=True):
    request_id: str
    status: str
    attempt: int
    turns: int
    token_usage: TokenUsage
    cost_usd: float
    cost_known: bool
    end_reason: str | None
    error: RunError | None
    last_message: LastMessage | None
    end_user: str | None
    metadata: dict[str, Any]
    created_at: str
    started_at: str | None
    ended_at: str | None


class RunPage(Result, frozen=True):
    runs: list[RunInfo]
    next_cursor: str | None


class MessageCall(Result, frozen=True):
    call_id: str
    name: str
    arguments: Any


class Message(Result, frozen=True):
    """A stored message. `role` is `user`, `assistant`, `system` or `tool_result`."""

    id: str
    role: str
    content: str
    created_at: str
    request_id: str | None
    tool_calls: list[MessageCall] = []
    call_id: str | None = None


class MessagePage(Result, frozen=True):
    messages: list[Message]
    next_cursor: Position | None


class PromptReceipt(Result, frozen=True):
    request_id: str
    session_id: str
    queued: bool


class Stats(Result, frozen=True):
    session_id: str
    turns: int
    total_tokens: int
    cost_usd: float
    cost_known: bool
    prompt_count: int
    token_usage: TokenUsage
    tool_calls: int
    last_event_index: Position
    event_buffer_count: int
    by_model: dict[str, Any]


class PendingApproval(Result, frozen=True):
    approval_id: str
    call_id: str
    tool_name: str
    args: Any
    args_hash: str
    hint: str | None
    requested_at: str
    expires_at: str


class PendingQuestion(Result, frozen=True):
    ref: str
    question: str
    options: list[dict[str, str]]
    expires_at: str


class PendingTool(Result, frozen=True):
    call_id: str
    tool_name: str
    args: Any
    expires_at: str


class Status(Result, frozen=True):
    state: str
    pending_approvals: list[PendingApproval]
    pending_questions: list[PendingQuestion]
    pending_tools: list[PendingTool]
    queue: int
    last_event_index: Position
    run: RunInfo | None


class ToolInfo(Result, frozen=True):
    name: str
    description: str
    parameters: dict[str, Any]
    callback_url: str | None
    timeout_ms: int
    requires_approval: bool
    hint: str | None
    idempotent: bool
    created_at: str


class UsageRow(Result, frozen=True):
    prompts: int
    turns: int
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: float
    cost_known: bool
    estimated_turns: int
    day: str | None = None
    key: str | None = None
    model: str | None = None


class RunResult(Result, frozen=True):
    """The end of a run with its answer."""

    request_id: str
    text: str
    token_usage: TokenUsage
    cost_usd: float
    cost_known: bool
    duration_ms: int
