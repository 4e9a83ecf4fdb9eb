"""The messages of a client, each with the service that it goes to (docs/protocol-codelab.md, "Messages")."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from core_app.errors import BadRequest, Conflict, NotFound
from edge_app.rpc import Method, struct_parser
from sessions_app.selectors import session_get
from sessions_app.services.decisions import approval_decide, tool_result_accept
from sessions_app.services.prompt import Prompt, prompt_accept
from sessions_app.services.run_control import agent_switch, run_abort
from tenants_app.principal import APPROVALS, SESSIONS, Principal
from tools_app.models import ToolCall
from tools_app.outside_calls import call_named
from tools_app.result_body import as_text

MAX_CONTENT_CHARACTERS = 1024 * 1024


@dataclass(frozen=True, slots=True)
class SessionCaller:
    """The caller of a message, and the session of its socket."""

    principal: Principal
    session_id: str


class UserMessage(msgspec.Struct, kw_only=True):
    """`user_message`. Fields that the gateway does not know are ignored."""

    content: str
    role: Literal["user"] = "user"


class ToolResult(msgspec.Struct, kw_only=True):
    """`tool_result`."""

    call_id: str
    result: Any = msgspec.UNSET
    error: Any = None


class HitlDecision(msgspec.Struct, kw_only=True):
    """`hitl_decision`."""

    call_id: str
    decision: Literal["approve", "edit", "reject"]
    modified_arguments: dict[str, Any] | None = None
    feedback: str | None = None


class SwitchAgent(msgspec.Struct, kw_only=True):
    """`switch_agent`."""

    agent_type: str
    content: str = ""
    reason: str | None = None


class Abort(msgspec.Struct, kw_only=True):
    """`abort`."""


def _user_message(caller: SessionCaller, message: UserMessage) -> Mapping[str, Any]:
    _send(caller, message.content)
    return {}


def _tool_result(caller: SessionCaller, message: ToolResult) -> Mapping[str, Any]:
    call = _call(caller, message.call_id)
    if message.error is None and message.result is msgspec.UNSET:
        raise BadRequest("A tool_result has a 'result' or an 'error'.", field="result")
    error = message.error if message.error is None or call.is_outside else as_text(message.error)
    result = None if message.result is msgspec.UNSET else message.result
    tool_result_accept(
        principal=caller.principal, public_id=caller.session_id, call_id=call.pk, result=result, error=error
    )
    return {}


def _decide(caller: SessionCaller, message: HitlDecision) -> Mapping[str, Any]:
    call = _call(caller, message.call_id)
    if call.approval_id is None:
        raise BadRequest("The call needs no decision.", field="call_id")
    if message.decision == "edit" and message.modified_arguments is None:
        raise BadRequest("The decision 'edit' needs 'modified_arguments'.", field="modified_arguments")
    approval_decide(
        principal=caller.principal,
        public_id=caller.session_id,
        approval_id=call.approval_id,
        approve=message.decision != "reject",
        args=message.modified_arguments if message.decision == "edit" else None,
        comment=message.feedback,
    )
    return {}


def _switch_agent(caller: SessionCaller, message: SwitchAgent) -> Mapping[str, Any]:
    agent_switch(
        principal=caller.principal, public_id=caller.session_id, agent_id=message.agent_type, reason=message.reason
    )
    if message.content.strip():
        _send(caller, message.content)
    return {}


def _abort(caller: SessionCaller, message: Abort) -> Mapping[str, Any]:
    with suppress(Conflict):  # nothing runs, so there is nothing to end: an abort is always acknowledged
        run_abort(principal=caller.principal, public_id=caller.session_id)
    return {}


def _send(caller: SessionCaller, content: str) -> None:
    """Accepts a prompt; behind a turn that is under way it is queued."""
    if not content.strip():
        raise BadRequest("'content' is required, and is text.", field="content")
    if len(content) > MAX_CONTENT_CHARACTERS:
        raise BadRequest(f"'content' has at most {MAX_CONTENT_CHARACTERS} characters.", field="content")
    prompt_accept(principal=caller.principal, public_id=caller.session_id, prompt=Prompt(text=content))


def _call(caller: SessionCaller, call_id: str) -> ToolCall:
    session = session_get(caller.principal, caller.session_id)
    call = call_named(session.stream_id, call_id)
    if call is None:
        raise NotFound("The session has no call of that id.", field="call_id")
    return call


ACTIONS: Mapping[str, Method[SessionCaller]] = {
    "user_message": Method.on_database(
        struct_parser(UserMessage), _user_message, scope=SESSIONS, counted=True, shape=UserMessage
    ),
    "tool_result": Method.on_database(struct_parser(ToolResult), _tool_result, scope=SESSIONS, shape=ToolResult),
    "hitl_decision": Method.on_database(struct_parser(HitlDecision), _decide, scope=APPROVALS, shape=HitlDecision),
    "switch_agent": Method.on_database(
        struct_parser(SwitchAgent), _switch_agent, scope=SESSIONS, counted=True, shape=SwitchAgent
    ),
    "abort": Method.on_database(struct_parser(Abort), _abort, scope=SESSIONS, shape=Abort),
}
