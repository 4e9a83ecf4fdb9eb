"""Stream tokens, for clients that cannot send a header."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.viewsets import GatewayAPIView
from sessions_app.services.stream_token import stream_token_issue
from tenants_app.principal import SESSIONS


class StreamTokenView(GatewayAPIView):
    """POST …/stream-token."""

    scope = SESSIONS

    def post(self, request: Request, session_id: str) -> Response:
        issued = stream_token_issue(principal=self.principal, public_id=session_id)
        return Response(issued, headers={"Cache-Control": "no-store"})
