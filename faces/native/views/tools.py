"""The tools that are registered for a session."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from core_app.errors import BadRequest
from edge_app.rest.viewsets import GatewayViewSet, idempotent
from sessions_app.selectors import session_get
from sessions_app.services.tools import tool_register, tool_remove
from tenants_app.principal import SESSIONS, SESSIONS_READ
from tools_app import registry


class ToolViewSet(GatewayViewSet):
    """Tools below `/v1/sessions/:id/tools`. Registering a name again replaces the tool."""

    scope = SESSIONS
    scopes = {"list": SESSIONS_READ}
    lookup_url_kwarg = "name"

    def list(self, request: Request, session_id: str) -> Response:
        session = session_get(self.principal, session_id)
        return Response({"tools": registry.tools_list(session.stream_id)})

    @idempotent
    def create(self, request: Request, session_id: str) -> Response:
        session_get(self.principal, session_id)
        if not isinstance(request.data, dict):
            raise BadRequest("A registration is a JSON object.")
        with self.work_transaction():
            tool = tool_register(principal=self.principal, public_id=session_id, registration=request.data)
            return self.store_response(Response(tool, status=201))

    def destroy(self, request: Request, session_id: str, name: str) -> Response:
        tool_remove(principal=self.principal, public_id=session_id, name=name)
        return Response(status=204)
