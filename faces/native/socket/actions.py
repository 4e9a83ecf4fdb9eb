"""The actions of the native socket, with the shapes and the services of the REST endpoints of the same names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rest_framework import serializers

from edge_app.rest.fields import StrictString
from edge_app.rpc import Method
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
from tenants_app.principal import APPROVALS, SESSIONS, Principal


@dataclass(frozen=True, slots=True)
class SessionCaller:
    """The caller of an action, and the session of its socket."""

    principal: Principal
    session_id: str


Checked = Any
"""A valid serializer; each action knows its own."""

Perform = Callable[[Principal, str, Checked], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Action:
    """An action: the caller's scope, the shape of its fields, and the service that performs it.

    `counted`: it takes from the key's `rpm` as a request does; prompts alone do.
    """

    scope: str
    serializer: Callable[..., serializers.Serializer[Any]]
    perform: Perform
    counted: bool = False

    def method(self) -> Method[SessionCaller]:
        """The action as a method of the dispatcher; its fields are validated after the scope is checked."""
        return Method.on_database(dict, self._perform, counted=self.counted)

    def _perform(self, caller: SessionCaller, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        caller.principal.require(self.scope)
        checked = self.serializer(data=fields)
        checked.is_valid(raise_exception=True)
        return self.perform(caller.principal, caller.session_id, checked)


class AbortFrameSerializer(AbortSerializer):
    """The shape of `abort`: the frame names the run; without a name the active run is meant."""

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

METHODS: Mapping[str, Method[SessionCaller]] = {name: action.method() for name, action in ACTIONS.items()}
