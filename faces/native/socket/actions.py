"""The actions of the native socket, with the shapes and the services of the REST endpoints of the same names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework import serializers

from edge_app.rest.fields import StrictString
from edge_app.rpc import Method, serializer_parser
from faces.native.serializers import (
    AbortSerializer,
    ApproveSerializer,
    PromptSerializer,
    RejectSerializer,
    RespondSerializer,
    SteerSerializer,
    ToolResultSerializer,
)
from sessions_app.services.decisions import approval_decide, question_answer, tool_result_accept
from sessions_app.services.prompt import prompt_accept
from sessions_app.services.run_control import run_abort, run_steer
from tenants_app.principal import APPROVALS, QUESTIONS, SESSIONS, Principal


@dataclass(frozen=True, slots=True)
class SessionCaller:
    """The caller of an action, and the session of its socket."""

    principal: Principal
    session_id: str


Checked = Any
"""A valid serializer; each action knows its own."""


class AbortFrameSerializer(AbortSerializer):
    """The shape of `abort`: the frame names the run; without a name the active run is meant."""

    requestId = StrictString(required=False, allow_null=True, max_length=64)


def _prompt(caller: SessionCaller, checked: PromptSerializer) -> Mapping[str, Any]:
    return prompt_accept(principal=caller.principal, public_id=caller.session_id, prompt=checked.to_prompt()).to_wire()


def _approve(caller: SessionCaller, checked: Checked) -> Mapping[str, Any]:
    data = checked.validated_data
    return approval_decide(
        principal=caller.principal,
        public_id=caller.session_id,
        approval_id=data["approvalId"],
        approve=True,
        args_hash=data.get("argsHash"),
        args=data.get("args"),
        comment=data.get("comment"),
        remember=data.get("remember") is not None,
    )


def _reject(caller: SessionCaller, checked: Checked) -> Mapping[str, Any]:
    data = checked.validated_data
    return approval_decide(
        principal=caller.principal,
        public_id=caller.session_id,
        approval_id=data["approvalId"],
        approve=False,
        comment=data.get("reason"),
    )


def _respond(caller: SessionCaller, checked: Checked) -> Mapping[str, Any]:
    data = checked.validated_data
    return question_answer(
        principal=caller.principal, public_id=caller.session_id, ref=data["ref"], response=data["response"]
    )


def _tool_result(caller: SessionCaller, checked: Checked) -> Mapping[str, Any]:
    data = checked.validated_data
    return tool_result_accept(
        principal=caller.principal,
        public_id=caller.session_id,
        call_id=data["callId"],
        result=data.get("result"),
        error=data.get("error"),
    )


def _abort(caller: SessionCaller, checked: Checked) -> Mapping[str, Any]:
    data = checked.validated_data
    run = run_abort(
        principal=caller.principal, public_id=caller.session_id, run_id=data.get("requestId"), reason=data.get("reason")
    )
    return {"requestId": run.pk, "sessionId": caller.session_id, "status": "aborted"}


def _steer(caller: SessionCaller, checked: Checked) -> Mapping[str, Any]:
    run = run_steer(principal=caller.principal, public_id=caller.session_id, text=checked.validated_data["text"])
    return {"requestId": run.pk, "sessionId": caller.session_id}


def _action(
    shape: Callable[..., serializers.Serializer[Any]],
    perform: Callable[[SessionCaller, Checked], Mapping[str, Any]],
    *,
    scope: str = SESSIONS,
    counted: bool = False,
) -> Method[SessionCaller]:
    return Method.on_database(serializer_parser(shape), perform, scope=scope, counted=counted, shape=shape)


ACTIONS: Mapping[str, Method[SessionCaller]] = {
    "prompt": _action(PromptSerializer, _prompt, counted=True),
    "approve": _action(ApproveSerializer, _approve, scope=APPROVALS),
    "reject": _action(RejectSerializer, _reject, scope=APPROVALS),
    "respond": _action(RespondSerializer, _respond, scope=QUESTIONS),
    "tool_result": _action(ToolResultSerializer, _tool_result),
    "abort": _action(AbortFrameSerializer, _abort),
    "steer": _action(SteerSerializer, _steer),
}
"""`ping` is not among them: it does nothing, and is answered where frames are read."""
