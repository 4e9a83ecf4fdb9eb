"""The states of a tool call and the transitions between them (docs/protocol-native.md, "Tools, approvals, questions").

    planned ─┬─▶ awaiting_approval ─┬─▶ approved ─▶ running ─┬─▶ accepted ─▶ settled
             ├─▶ running            ├─▶ requested            └─▶ settled
             ├─▶ requested          ├─▶ awaiting_answer
             ├─▶ awaiting_answer    └─▶ settled
             └─▶ settled

A transition is a conditional UPDATE whose row count decides between concurrent writers (`tools_app.transitions`).
"""

from __future__ import annotations

from enum import StrEnum


class CallState(StrEnum):
    PLANNED = "planned"
    AWAITING_APPROVAL = "awaiting_approval"
    APPROVED = "approved"
    RUNNING = "running"
    REQUESTED = "requested"
    AWAITING_ANSWER = "awaiting_answer"
    ACCEPTED = "accepted"
    SETTLED = "settled"


class CallKind(StrEnum):
    CALLBACK = "callback"
    CLIENT = "client"
    BUILTIN = "builtin"
    MCP = "mcp"
    UNKNOWN = "unknown"


class CallStatus(StrEnum):
    OK = "ok"
    ERROR = "error"
    REJECTED = "rejected"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"


class ApprovalState(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"


WAITING = (CallState.AWAITING_APPROVAL, CallState.REQUESTED, CallState.AWAITING_ANSWER, CallState.ACCEPTED)
"""States in which a call waits for a person or a client: its run's leg has ended, and the wait has an expiry."""

STARTED = (CallState.RUNNING, CallState.REQUESTED, CallState.ACCEPTED)
"""States in which a call has been handed to whatever executes it, so that it may take effect even if the run ends."""

MOVES: dict[CallState, frozenset[CallState]] = {
    CallState.PLANNED: frozenset(
        {
            CallState.AWAITING_APPROVAL,
            CallState.RUNNING,
            CallState.REQUESTED,
            CallState.AWAITING_ANSWER,
            CallState.SETTLED,
        }
    ),
    CallState.AWAITING_APPROVAL: frozenset(
        {CallState.APPROVED, CallState.REQUESTED, CallState.AWAITING_ANSWER, CallState.SETTLED}
    ),
    CallState.APPROVED: frozenset({CallState.RUNNING, CallState.SETTLED}),
    CallState.RUNNING: frozenset({CallState.ACCEPTED, CallState.SETTLED}),
    CallState.REQUESTED: frozenset({CallState.SETTLED}),
    CallState.AWAITING_ANSWER: frozenset({CallState.SETTLED}),
    CallState.ACCEPTED: frozenset({CallState.SETTLED}),
    CallState.SETTLED: frozenset(),
}
