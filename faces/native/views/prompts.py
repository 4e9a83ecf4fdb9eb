"""Prompts and what people do to the run that one sets off."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.viewsets import GatewayAPIView, idempotent
from faces.native.serializers import AbortSerializer, PromptSerializer, SteerSerializer, SwitchModelSerializer
from sessions_app.selectors import session_get
from sessions_app.services.prompt import PromptReceipt, prompt_accept
from sessions_app.services.run_control import model_switch, run_abort, run_steer
from tenants_app.principal import SESSIONS


class PromptView(GatewayAPIView):
    """POST …/prompt: 202. `?wait=` is `faces.native.prompt_wait`'s, in front of Django."""

    scope = SESSIONS

    @idempotent
    def post(self, request: Request, session_id: str) -> Response:
        session_get(self.principal, session_id)
        serializer = PromptSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        receipt = prompt_accept(
            principal=self.principal,
            public_id=session_id,
            prompt=serializer.to_prompt(),
            on_accepted=lambda receipt: self.keep(_accepted(receipt)),
        )
        return _accepted(receipt)


def _accepted(receipt: PromptReceipt) -> Response:
    return Response(receipt.to_wire(), status=202)


class AbortView(GatewayAPIView):
    """POST …/abort and …/runs/:requestId/abort."""

    scope = SESSIONS

    def post(self, request: Request, session_id: str, request_id: str | None = None) -> Response:
        serializer = AbortSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        run = run_abort(
            principal=self.principal,
            public_id=session_id,
            run_id=request_id,
            reason=serializer.validated_data.get("reason"),
        )
        return Response({"requestId": run.pk, "sessionId": session_id, "status": "aborted"}, status=202)


class SteerView(GatewayAPIView):
    """POST …/steer."""

    scope = SESSIONS

    def post(self, request: Request, session_id: str) -> Response:
        serializer = SteerSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        run = run_steer(principal=self.principal, public_id=session_id, text=serializer.validated_data["text"])
        return Response({"requestId": run.pk, "sessionId": session_id}, status=202)


class SwitchModelView(GatewayAPIView):
    """POST …/switch_model."""

    scope = SESSIONS

    def post(self, request: Request, session_id: str) -> Response:
        serializer = SwitchModelSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        model = serializer.validated_data["model"]
        session = model_switch(principal=self.principal, public_id=session_id, model=model)
        return Response({"sessionId": session_id, "model": session.model}, status=202)
