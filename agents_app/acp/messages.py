"""Messages of an agent as values: text, reasoning, other news, and requests for permission."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Literal

from acp import schema

from core_app import jsontext
from tools_app.fingerprint import fingerprint

ALLOW = ("allow_once", "allow_always")
REFUSE = ("reject_once", "reject_always")
MAX_NAME_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class News:
    """Something that the agent tells: `text`, `thought`, or the name of another kind of update with its data."""

    kind: str
    text: str = ""
    data: Any = None


@dataclass(frozen=True, slots=True)
class Permission:
    """A request for permission, which waits for `answer`. `mark` is the same for the same work asked for again."""

    agent_call_id: str
    name: str
    args: dict[str, Any]
    kind: str
    options: tuple[schema.PermissionOption, ...]
    answer: asyncio.Future[schema.RequestPermissionResponse]
    details: Any = None
    """More that tells one request from another: agents show an edit as content, and name no arguments."""

    @property
    def mark(self) -> str:
        return fingerprint([self.name, self.args, self.kind, self.details])

    def decide(self, *, approved: bool, comment: str) -> None:
        """Answers with the first option of the decision's kind, else as cancelled. The comment goes along."""
        if not self.answer.done():
            self.answer.set_result(_response(self.options, approved, comment))


def permission_of(
    request: schema.RequestPermissionRequest, answer: asyncio.Future[schema.RequestPermissionResponse]
) -> Permission:
    """Returns a request as a value: its title is the tool's name, its raw input the arguments."""
    call = request.tool_call
    args = jsontext.clean(call.raw_input) if isinstance(call.raw_input, dict) else {}
    name = jsontext.clean_text(call.title or call.kind or "tool")[:MAX_NAME_CHARACTERS]
    details = jsontext.clean(call.model_dump(mode="json", include={"raw_input", "content", "locations"}))
    kind = call.kind or "other"
    return Permission(call.tool_call_id, name, args, kind, tuple(request.options), answer, details)


def news_of(update: Any) -> News | None:
    """Returns an update as a value; None for what is nobody's business, such as the commands of an editor."""
    if isinstance(update, schema.AgentMessageChunk | schema.AgentThoughtChunk):
        kind: Literal["text", "thought"] = "text" if isinstance(update, schema.AgentMessageChunk) else "thought"
        if isinstance(update.content, schema.TextContentBlock):
            return News(kind, update.content.text)
        return News("content", data=_plain(update.content))
    if isinstance(update, schema.ToolCallStart | schema.ToolCallProgress):
        return News(update.session_update, data=_tool_call(update))
    if isinstance(update, schema.AgentPlanUpdate):
        return News("plan", data={"entries": [_plain(entry) for entry in update.entries]})
    return None


def _tool_call(update: schema.ToolCallStart | schema.ToolCallProgress) -> dict[str, Any]:
    told = {
        "agentCallId": update.tool_call_id,
        "toolName": update.title,
        "kind": update.kind,
        "status": update.status,
        "args": update.raw_input,
        "result": update.raw_output,
        "content": [_plain(one) for one in update.content] if update.content else None,
    }
    return {name: value for name, value in told.items() if value is not None}


def _plain(model: Any) -> Any:
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _response(
    options: tuple[schema.PermissionOption, ...], approved: bool, comment: str
) -> schema.RequestPermissionResponse:
    meta = {"comment": comment} if comment else None
    for kind in ALLOW if approved else REFUSE:
        for option in options:
            if option.kind == kind:
                chosen = schema.AllowedOutcome(outcome="selected", option_id=option.option_id)
                return schema.RequestPermissionResponse(outcome=chosen, field_meta=meta)
    return schema.RequestPermissionResponse(outcome=schema.DeniedOutcome(outcome="cancelled"), field_meta=meta)
