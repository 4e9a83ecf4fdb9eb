"""The context in which somebody decides on a call: the user's words, the conversation up to the call, and the tool.

Texts are shortened by the database. A few queries for all calls of a page, and one per call for its conversation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models.functions import Left, Length

from sessions_app.models import AgentSession, Message, Run
from tools_app.executors import builtin
from tools_app.models import SessionTool, ToolCall

MAX_PROMPT = 4_000
MAX_MESSAGE = 1_000
MESSAGES = 6
CONVERSATIONS = 20
"""Calls of one page that are shown with their conversation; the others have a link to it."""

_SHOWN_ROLES = ("user", "assistant", "tool_result")


@dataclass(frozen=True, slots=True)
class DecisionContext:
    """The context of a call. `omitted` counts the characters of the prompt that were left out."""

    prompt: str = ""
    omitted: int = 0
    end_user: str | None = None
    tool_description: str = ""
    messages: Sequence[Any] = field(default_factory=tuple)


def decision_contexts(calls: Sequence[ToolCall], sessions: Mapping[int, AgentSession]) -> Mapping[str, DecisionContext]:
    """Returns the context of each call, by the call's id; `sessions` are by stream."""
    prompts = _prompts({call.run_id for call in calls})
    descriptions = _descriptions(calls)
    return {
        call.pk: _context(
            call,
            prompts.get(call.run_id),
            descriptions.get((call.stream_id, call.tool_name), ""),
            sessions.get(call.stream_id) if number < CONVERSATIONS else None,
        )
        for number, call in enumerate(calls)
    }


def _context(call: ToolCall, run: Any, description: str, session: AgentSession | None) -> DecisionContext:
    messages = () if session is None else _messages_before(session, call)
    if run is None:
        return DecisionContext(tool_description=description, messages=messages)
    return DecisionContext(run.prompt, max(0, run.omitted), run.end_user, description, messages)


def _prompts(run_ids: set[str]) -> Mapping[str, Any]:
    rows = Run.objects.filter(pk__in=run_ids).annotate(
        prompt=Left("text", MAX_PROMPT), omitted=Length("text") - MAX_PROMPT
    )
    return {run.pk: run for run in rows.only("pk", "end_user")}


def _descriptions(calls: Sequence[ToolCall]) -> Mapping[tuple[int, str], str]:
    """Returns what the model was told of each tool: by the session's registration, else by the built-in."""
    names = {call.tool_name for call in calls}
    found = {
        (call.stream_id, call.tool_name): tool.description
        for call in calls
        if (tool := builtin.find(call.tool_name, None, call.tenant_id)) is not None
    }
    rows = SessionTool.objects.filter(stream_id__in={call.stream_id for call in calls}, name__in=names)
    return found | {(tool.stream_id, tool.name): tool.description for tool in rows}


def _messages_before(session: AgentSession, call: ToolCall) -> list[Any]:
    """Returns the newest messages of the conversation when the call was made, the oldest first."""
    rows = Message.objects.filter(session=session, role__in=_SHOWN_ROLES, created_at__lte=call.created_at)
    rows = rows.annotate(excerpt=Left("content", MAX_MESSAGE), omitted=Length("content") - MAX_MESSAGE)
    return list(rows.defer("content", "calls", "payload").order_by("-number")[:MESSAGES])[::-1]
