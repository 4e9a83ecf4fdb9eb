"""The actions of the WebSocket: the shapes and the services that the REST endpoints of the same names use."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework import serializers

from edge_app.rest.fields import StrictString
from faces.native.serializers import (
    AbortSerializer,
    ApproveSerializer,
    PromptSerializer,
    RejectSerializer,
    RespondSerializer,
    SteerSerializer,
    ToolResultSerializer,
)
from faces.native.socket.frames import Frame
from sessions_app.services.decisions import approval_decide, question_answer, tool_result_accept
from sessions_app.services.prompt import prompt_accept
from sessions_app.services.run_control import run_abort, run_steer
from tenants_app.principal import APPROVALS, SESSIONS, Principal

Checked = Any
"""A valid serializer; each action knows its own."""


@dataclass(frozen=True, slots=True)
class Action:
    """`counted`: it takes from the key's `rpm` as a request does (contract: prompts alone)."""

    scope: str
    serializer: Callable[..., serializers.Serializer[Any]]
    perform: Callable[[Principal, str, Checked], Mapping[str, Any]]
    counted: bool = False


def action_perform(*, principal: Principal, session_id: str, frame: Frame) -> Mapping[str, Any]:
    """Does what the frame asks for and gives its wire result; the frame's action is one of ACTIONS."""
    action = ACTIONS[frame.action]
    principal.require(action.scope)
    checked = action.serializer(data=dict(frame.data))
    checked.is_valid(raise_exception=True)
    return action.perform(principal, session_id, checked)


class AbortFrameSerializer(AbortSerializer):
    """On the socket the run is named in the frame; without it the active one is meant."""

    requestId = StrictString(required=False, allow_null=True, max_length=64)


def _prompt(principal: Principal, session_id: str, checked: PromptSerializer) -> Mapping[str, Any]:
    return prompt_accept(principal=principal, public_id=session_id, prompt=checked.to_prompt()).to_wire()


def _approve(principal: Principal, session_id: str, checked: Checked) -> Mapping[str, Any]:
    data = checked.validated_data
    return approval_decide(
        principal=principal,
        public_id=session_id,
        approval_id=data["approvalId"],
        approve=True,
        args_hash=data.get("argsHash"),
        args=data.get("args"),
        comment=data.get("comment"),
    )


def _reject(principal: Principal, session_id: str, checked: Checked) -> Mapping[str, Any]:
    data = checked.validated_data
    return approval_decide(
        principal=principal,
        public_id=session_id,
        approval_id=data["approvalId"],
        approve=False,
        comment=data.get("reason"),
    )


def _respond(principal: Principal, session_id: str, checked: Checked) -> Mapping[str, Any]:
    data = checked.validated_data
    return question_answer(principal=principal, public_id=session_id, ref=data["ref"], response=data["response"])


def _tool_result(principal: Principal, session_id: str, checked: Checked) -> Mapping[str, Any]:
    data = checked.validated_data
    return tool_result_accept(
        principal=principal,
        public_id=session_id,
        call_id=data["callId"],
        result=data.get("result"),
        error=data.get("error"),
    )


def _abort(principal: Principal, session_id: str, checked: Checked) -> Mapping[str, Any]:
    data = checked.validated_data
    run = run_abort(principal=principal, public_id=session_id, run_id=data.get("requestId"), reason=data.get("reason"))
    return {"requestId": run.pk, "sessionId": session_id, "status": "aborted"}


def _steer(principal: Principal, session_id: str, checked: Checked) -> Mapping[str, Any]:
    run = run_steer(principal=principal, public_id=session_id, text=checked.validated_data["text"])
    return {"requestId": run.pk, "sessionId": session_id}


ACTIONS: Mapping[str, Action] = {
    "prompt": Action(SESSIONS, PromptSerializer, _prompt, counted=True),
    "approve": Action(APPROVALS, ApproveSerializer, _approve),
    "reject": Action(APPROVALS, RejectSerializer, _reject),
    "respond": Action(SESSIONS, RespondSerializer, _respond),
    "tool_result": Action(SESSIONS, ToolResultSerializer, _tool_result),
    "abort": Action(SESSIONS, AbortFrameSerializer, _abort),
    "steer": Action(SESSIONS, SteerSerializer, _steer),
}
"""`ping` is not among them: it does nothing, and is answered where frames are read."""
