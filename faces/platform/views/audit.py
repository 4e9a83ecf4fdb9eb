"""The audit trail of all tenants and of the gateway itself."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from faces.platform.views.base import PlatformViewSet, tenant_get
from faces.platform.wire import audit_to_wire
from tenants_app.models import AuditEntry


class AuditViewSet(PlatformViewSet):
    """Entries, the newest first."""

    def list(self, request: Request) -> Response:
        rows = AuditEntry.objects.select_related("tenant")
        if slug := request.query_params.get("tenant"):
            rows = rows.filter(tenant=tenant_get(slug))
        if action := request.query_params.get("action"):
            rows = rows.filter(action=action)
        found, cursor = self.page(rows, newest_first=True)
        return Response({"entries": [audit_to_wire(entry) for entry in found], "nextCursor": cursor})
