"""Events of a session as updates of the protocol, each with its position in `_meta.offset`."""

from __future__ import annotations

from typing import Any, Literal

from acp import schema

from agents_app.events import AgentEvent, MessageDelta, ThinkingDelta
from core_app import jsontext
from events_app.batches import StoredEvent
from sessions_app.events import PromptReceived
from tools_app.events import ApprovalRequired, ToolCallRequested, ToolExecutionEnd, ToolExecutionStart

Update = (
    schema.UserMessageChunk
    | schema.AgentMessageChunk
    | schema.AgentThoughtChunk
    | schema.ToolCallStart
    | schema.ToolCallProgress
    | schema.AgentPlanUpdate
)


def update_of(event: StoredEvent, *, prompts: bool) -> Update | None:
    """Returns what the client sees of an event; None for nothing. `prompts`: also what the user said, in a replay."""
    data = jsontext.decode(event.data)
    match event.type:
        case PromptReceived.type if prompts:
            return schema.UserMessageChunk(session_update="user_message_chunk", content=text_block(data["text"]))
        case MessageDelta.type:
            return schema.AgentMessageChunk(session_update="agent_message_chunk", content=text_block(data["delta"]))
        case ThinkingDelta.type:
            return schema.AgentThoughtChunk(session_update="agent_thought_chunk", content=text_block(data["delta"]))
        case ToolExecutionStart.type | ToolCallRequested.type:
            return _started(data, "in_progress")
        case ApprovalRequired.type:
            return _started(data, "pending")
        case ToolExecutionEnd.type:
            return _ended(data)
        case AgentEvent.type if data["name"] == "plan":
            return _plan(data["data"])
    return None


def text_block(text: str) -> schema.TextContentBlock:
    """Returns a text as a content block."""
    return schema.TextContentBlock(type="text", text=text)


def _started(data: Any, status: Literal["pending", "in_progress"]) -> schema.ToolCallStart:
    return schema.ToolCallStart(
        session_update="tool_call",
        tool_call_id=data["callId"],
        title=data["toolName"],
        kind="other",
        status=status,
        raw_input=data["args"],
    )


def _ended(data: Any) -> schema.ToolCallProgress:
    content = schema.ContentToolCallContent(type="content", content=text_block(data["result"]))
    return schema.ToolCallProgress(
        session_update="tool_call_update",
        tool_call_id=data["callId"],
        status="completed" if data["status"] == "ok" else "failed",
        content=[content],
    )


def _plan(data: Any) -> schema.AgentPlanUpdate | None:
    try:
        entries = [schema.PlanEntry.model_validate(entry) for entry in data["entries"]]
    except (KeyError, TypeError, ValueError):
        return None
    return schema.AgentPlanUpdate(session_update="plan", entries=entries)
