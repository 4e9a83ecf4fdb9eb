"""Session actions that start a run and steer the one in progress.

`faces.native.prompt_wait` handles `?wait=` of a prompt in front of Django.
"""

from __future__ import annotations

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.viewsets import GatewayViewSet, idempotent
from faces.native.serializers import AbortSerializer, PromptSerializer, SteerSerializer, SwitchModelSerializer
from sessions_app.selectors import session_get
from sessions_app.services.prompt import PromptReceipt, prompt_accept
from sessions_app.services.run_control import model_switch, run_abort, run_steer


class PromptActions(GatewayViewSet):
    """The part of `SessionViewSet` that starts and steers runs."""

    @action(detail=True, methods=["post"])
    @idempotent
    def prompt(self, request: Request, session_id: str) -> Response:
        """Accepts a prompt: 202; with `?wait=` 200 when the run ends in time."""
        session_get(self.principal, session_id)
        receipt = prompt_accept(
            principal=self.principal,
            public_id=session_id,
            prompt=self.parse_body(PromptSerializer).to_prompt(),
            on_accepted=lambda receipt: self.store_response(_receipt_response(receipt)),
        )
        return _receipt_response(receipt)

    @action(detail=True, methods=["post"])
    def abort(self, request: Request, session_id: str) -> Response:
        """Aborts the run in progress."""
        return abort_response(self, session_id, None)

    @action(detail=True, methods=["post"])
    def steer(self, request: Request, session_id: str) -> Response:
        """Gives the run in progress a text before its next model call."""
        text = self.parse_body(SteerSerializer).validated_data["text"]
        run = run_steer(principal=self.principal, public_id=session_id, text=text)
        return Response({"requestId": run.pk, "sessionId": session_id}, status=202)

    @action(detail=True, methods=["post"], name="Switch Model")
    def switch_model(self, request: Request, session_id: str) -> Response:
        """Uses another model from the next leg on."""
        model = self.parse_body(SwitchModelSerializer).validated_data["model"]
        session = model_switch(principal=self.principal, public_id=session_id, model=model)
        return Response({"sessionId": session_id, "model": session.model}, status=202)


def abort_response(view: GatewayViewSet, session_id: str, run_id: str | None) -> Response:
    """Aborts the run, or the one in progress where none is named, and returns the receipt."""
    run = run_abort(
        principal=view.principal,
        public_id=session_id,
        run_id=run_id,
        reason=view.parse_body(AbortSerializer).validated_data.get("reason"),
    )
    return Response({"requestId": run.pk, "sessionId": session_id, "status": "aborted"}, status=202)


def _receipt_response(receipt: PromptReceipt) -> Response:
    return Response(receipt.to_wire(), status=202)
