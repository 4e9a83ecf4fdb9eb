"""The inbox of a tenant: what waits for a person, across its sessions."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.paging import limit_of
from edge_app.rest.viewsets import GatewayViewSet
from sessions_app.inbox import inbox_page, inbox_total
from tenants_app.principal import APPROVALS


class InboxViewSet(GatewayViewSet):
    """Open approvals and questions, those that expire first at the top."""

    scope = APPROVALS

    def list(self, request: Request) -> Response:
        waits, cursor = inbox_page(self.principal, after=request.query_params.get("cursor"), limit=limit_of(request))
        total = inbox_total(self.principal)
        return Response({"waits": [wait.to_wire() for wait in waits], "total": total, "nextCursor": cursor})
