"""Session actions that settle what a run waits for: approvals, questions and results of tools the client runs."""

from __future__ import annotations

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.viewsets import GatewayViewSet
from faces.native.serializers import ApproveSerializer, RejectSerializer, RespondSerializer, ToolResultSerializer
from sessions_app.selectors import session_get
from sessions_app.services.decisions import approval_decide, approvals_forget, question_answer, tool_result_accept
from tenants_app.principal import APPROVALS, QUESTIONS, SESSIONS_READ
from tools_app.remembered import remembered_list


class DecisionActions(GatewayViewSet):
    """The part of `SessionViewSet` that settles waits."""

    @action(detail=True, methods=["post"], scope=APPROVALS)
    def approve(self, request: Request, session_id: str) -> Response:
        """Approves a tool call, with changed arguments where `args` are given."""
        data = self.parse_body(ApproveSerializer).validated_data
        decision = approval_decide(
            principal=self.principal,
            public_id=session_id,
            approval_id=data["approvalId"],
            approve=True,
            args_hash=data.get("argsHash"),
            args=data.get("args"),
            comment=data.get("comment"),
            remember=data.get("remember") is not None,
        )
        return Response(decision)

    @action(detail=True, methods=["post"], scope=APPROVALS)
    def reject(self, request: Request, session_id: str) -> Response:
        """Rejects a tool call."""
        data = self.parse_body(RejectSerializer).validated_data
        decision = approval_decide(
            principal=self.principal,
            public_id=session_id,
            approval_id=data["approvalId"],
            approve=False,
            comment=data.get("reason"),
        )
        return Response(decision)

    @action(detail=True, methods=["post"], scope=QUESTIONS)
    def respond(self, request: Request, session_id: str) -> Response:
        """Answers a question of the agent."""
        data = self.parse_body(RespondSerializer).validated_data
        receipt = question_answer(
            principal=self.principal, public_id=session_id, ref=data["ref"], response=data["response"]
        )
        return Response(receipt)

    @action(detail=True, methods=["post"], url_path="tool-results", name="Tool Result")
    def tool_results(self, request: Request, session_id: str) -> Response:
        """Accepts the result of a tool that the client ran."""
        data = self.parse_body(ToolResultSerializer).validated_data
        receipt = tool_result_accept(
            principal=self.principal,
            public_id=session_id,
            call_id=data["callId"],
            result=data.get("result"),
            error=data.get("error"),
        )
        return Response(receipt)


class RememberedApprovalViewSet(GatewayViewSet):
    """Remembered approvals below `/v1/sessions/:id/remembered-approvals`."""

    scope = SESSIONS_READ
    scopes = {"destroy": APPROVALS}
    lookup_url_kwarg = "name"

    def list(self, request: Request, session_id: str) -> Response:
        """Returns the tools whose calls need no approval any more."""
        session = session_get(self.principal, session_id)
        return Response({"tools": remembered_list(session.stream_id)})

    def destroy(self, request: Request, session_id: str, name: str) -> Response:
        """Forgets the approvals of a tool."""
        approvals_forget(principal=self.principal, public_id=session_id, tool_name=name)
        return Response(status=204)
