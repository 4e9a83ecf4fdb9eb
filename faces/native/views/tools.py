"""A session's registered tools, and the address where late results of callbacks are posted."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from core_app.errors import BadRequest
from edge_app.rest.viewsets import GatewayAPIView, idempotent
from sessions_app.selectors import session_get
from sessions_app.services.decisions import callback_result_accept
from sessions_app.services.tools import tool_register, tool_remove
from tenants_app.principal import SESSIONS
from tools_app import registry


class ToolList(GatewayAPIView):
    """POST registers or replaces a tool, GET lists them."""

    scope = SESSIONS

    def get(self, request: Request, session_id: str) -> Response:
        session = session_get(self.principal, session_id)
        return Response({"tools": registry.tools_list(session.stream_id)})

    @idempotent
    def post(self, request: Request, session_id: str) -> Response:
        session_get(self.principal, session_id)
        if not isinstance(request.data, dict):
            raise BadRequest("A registration is a JSON object.")
        with self.once():
            tool = tool_register(principal=self.principal, public_id=session_id, registration=request.data)
            return self.keep(Response(tool, status=201))


class ToolDetail(GatewayAPIView):
    """DELETE removes a tool."""

    scope = SESSIONS

    def delete(self, request: Request, session_id: str, name: str) -> Response:
        tool_remove(principal=self.principal, public_id=session_id, name=name)
        return Response(status=204)


class CallbackResultView(APIView):
    """POST /v1/callbacks/:token, a call's `resultUrl`. The token is the credential: there is no key."""

    authentication_classes = ()

    def post(self, request: Request, token: str) -> Response:
        return Response(callback_result_accept(token=token, body=request.data))
