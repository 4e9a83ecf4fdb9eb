"""Answers that runs wait for: decisions, responses, results of tools that the client runs."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.viewsets import GatewayAPIView
from faces.native.serializers import ApproveSerializer, RejectSerializer, RespondSerializer, ToolResultSerializer
from sessions_app.services.decisions import approval_decide, question_answer, tool_result_accept
from tenants_app.principal import APPROVALS, SESSIONS


class ApproveView(GatewayAPIView):
    """POST …/approve."""

    scope = APPROVALS

    def post(self, request: Request, session_id: str) -> Response:
        serializer = ApproveSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        return Response(
            approval_decide(
                principal=self.principal,
                public_id=session_id,
                approval_id=data["approvalId"],
                approve=True,
                args_hash=data.get("argsHash"),
                args=data.get("args"),
                comment=data.get("comment"),
            )
        )


class RejectView(GatewayAPIView):
    """POST …/reject."""

    scope = APPROVALS

    def post(self, request: Request, session_id: str) -> Response:
        serializer = RejectSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        return Response(
            approval_decide(
                principal=self.principal,
                public_id=session_id,
                approval_id=data["approvalId"],
                approve=False,
                comment=data.get("reason"),
            )
        )


class RespondView(GatewayAPIView):
    """POST …/respond."""

    scope = SESSIONS

    def post(self, request: Request, session_id: str) -> Response:
        serializer = RespondSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        answer = question_answer(
            principal=self.principal, public_id=session_id, ref=data["ref"], response=data["response"]
        )
        return Response(answer)


class ToolResultView(GatewayAPIView):
    """POST …/tool-results."""

    scope = SESSIONS

    def post(self, request: Request, session_id: str) -> Response:
        serializer = ToolResultSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        answer = tool_result_accept(
            principal=self.principal,
            public_id=session_id,
            call_id=data["callId"],
            result=data.get("result"),
            error=data.get("error"),
        )
        return Response(answer)
