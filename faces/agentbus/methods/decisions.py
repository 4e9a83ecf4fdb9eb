"""Decisions and answers that a run waits for: `chat.approve`, `chat.reject` and `chat.respond`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_app.rpc import Method
from faces.agentbus.caller import Caller
from faces.agentbus.parameters import Parameters, parser
from sessions_app.services.decisions import approval_decide, question_answer
from tenants_app.principal import APPROVALS, QUESTIONS


class ApproveParameters(Parameters):
    """The parameters of `chat.approve`."""

    session_id: str
    approval_id: str
    args_hash: str | None = None
    args: dict[str, Any] | None = None
    comment: str | None = None


class RejectParameters(Parameters):
    """The parameters of `chat.reject`."""

    session_id: str
    approval_id: str
    reason: str | None = None


class RespondParameters(Parameters):
    """The parameters of `chat.respond`."""

    session_id: str
    ref: str
    response: str


def _approve(caller: Caller, wanted: ApproveParameters) -> Mapping[str, Any]:
    decided = approval_decide(
        principal=caller.principal,
        public_id=wanted.session_id,
        approval_id=wanted.approval_id,
        approve=True,
        args_hash=wanted.args_hash,
        args=wanted.args,
        comment=wanted.comment,
    )
    return _decision(decided)


def _reject(caller: Caller, wanted: RejectParameters) -> Mapping[str, Any]:
    decided = approval_decide(
        principal=caller.principal,
        public_id=wanted.session_id,
        approval_id=wanted.approval_id,
        approve=False,
        comment=wanted.reason,
    )
    return _decision(decided)


def _decision(decided: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"approval_id": decided["approvalId"], "status": decided["status"]}


def _respond(caller: Caller, wanted: RespondParameters) -> Mapping[str, Any]:
    return question_answer(
        principal=caller.principal, public_id=wanted.session_id, ref=wanted.ref, response=wanted.response
    )


METHODS: Mapping[str, Method[Caller]] = {
    "chat.approve": Method.on_database(parser(ApproveParameters), _approve, scope=APPROVALS, shape=ApproveParameters),
    "chat.reject": Method.on_database(parser(RejectParameters), _reject, scope=APPROVALS, shape=RejectParameters),
    "chat.respond": Method.on_database(parser(RespondParameters), _respond, scope=QUESTIONS, shape=RespondParameters),
}
