"""The replies that a run waits for: decisions about approvals, answers to questions, results of the client's tools.

Each runs beside the stream, so events go on meanwhile. Before the callback is called, the gateway is asked whether the
reply is still missing: after a restart of the client a stream shows requests that were settled long ago.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from gateway_client.errors import Conflict, Gone, NotFound
from gateway_client.events import ApprovalRequired, AskUser, Event, ToolCallRequested
from gateway_client.results import Status
from gateway_client.streams import session_path
from gateway_client.tools import Tool, call_any
from gateway_client.transport import Transport


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """A decision with more than yes or no. `args` replace the arguments of an approved call; `comment` is stored with
    an approval, `reason` told to the model with a rejection. With `remember` later calls of the tool in the session
    need no approval."""

    approve: bool
    args: Mapping[str, Any] | None = None
    comment: str | None = None
    reason: str | None = None
    remember: bool = False


OnApproval = Callable[[ApprovalRequired], bool | Decision | Awaitable[bool | Decision]]
OnQuestion = Callable[[AskUser], str | Awaitable[str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Replies:
    """The callbacks of one stream; what has none is left to somebody else."""

    on_approval: OnApproval | None = None
    on_question: OnQuestion | None = None
    tools: Mapping[str, Tool] = field(default_factory=dict)

    def reply_to(self, transport: Transport, session_id: str, event: Event) -> Awaitable[None] | None:
        """Returns the work that `event` asks for, or None."""
        if isinstance(event, ApprovalRequired) and self.on_approval:
            return _decide(transport, session_id, event, self.on_approval)
        if isinstance(event, AskUser) and self.on_question:
            return _answer(transport, session_id, event, self.on_question)
        if isinstance(event, ToolCallRequested) and event.tool_name in self.tools:
            return _run_tool(transport, session_id, event, self.tools[event.tool_name])
        return None


async def decision_send(transport: Transport, session_id: str, approval_id: str, decision: Decision, seen: str) -> None:
    """Sends a decision. `seen` is the hash of the arguments that it was made about, or empty."""
    body: dict[str, Any] = {"approvalId": approval_id}
    if decision.approve:
        more = {"argsHash": seen or None, "args": decision.args, "comment": decision.comment}
        more["remember"] = "tool" if decision.remember else None
    else:
        more = {"reason": decision.reason}
    body |= {name: value for name, value in more.items() if value is not None}
    await transport.send("POST", session_path(session_id, "approve" if decision.approve else "reject"), body)


async def _decide(transport: Transport, session_id: str, event: ApprovalRequired, callback: OnApproval) -> None:
    status = await _status(transport, session_id)
    if all(pending.approval_id != event.approval_id for pending in status.pending_approvals):
        return
    found = await call_any(callback, event)
    decision = found if isinstance(found, Decision) else Decision(approve=bool(found))
    try:
        await decision_send(transport, session_id, event.approval_id, decision, event.args_hash)
    except (Conflict, Gone):
        return  # somebody else was faster, or it has expired: `approval_resolved` says what happened


async def _answer(transport: Transport, session_id: str, event: AskUser, callback: OnQuestion) -> None:
    status = await _status(transport, session_id)
    if all(pending.ref != event.ref for pending in status.pending_questions):
        return
    body = {"ref": event.ref, "response": str(await call_any(callback, event))}
    try:
        await transport.send("POST", session_path(session_id, "respond"), body)
    except (Conflict, Gone):
        return  # `question_resolved` says what happened


async def _run_tool(transport: Transport, session_id: str, event: ToolCallRequested, tool: Tool) -> None:
    status = await _status(transport, session_id)
    if all(pending.call_id != event.call_id for pending in status.pending_tools):
        return
    try:
        outcome: dict[str, Any] = {"result": await tool.call(event.args)}
    except msgspec.ValidationError as error:
        outcome = {"error": f"The arguments do not fit: {error}"}
    except Exception as error:  # the function's own failure, which is the model's to deal with
        outcome = {"error": f"{type(error).__name__}: {error}"}
    try:
        await transport.send("POST", session_path(session_id, "tool-results"), {"callId": event.call_id, **outcome})
    except (Conflict, Gone, NotFound):
        return  # the call has ended: `tool_execution_end` says how


async def _status(transport: Transport, session_id: str) -> Status:
    return await transport.get(session_path(session_id, "status"), Status)
