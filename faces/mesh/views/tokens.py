"""POST /events/token: a stream token for `EventSource`, which cannot send headers."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.viewsets import idempotent
from events_app.tokens import stream_token_issue
from faces.mesh.stream import mesh_stream
from faces.mesh.views.base import MeshViewSet
from faces.mesh.wire import milliseconds
from tenants_app.principal import TASKS_READ


class EventTokenViewSet(MeshViewSet):
    """Stream tokens of the tenant's live events."""

    scope = TASKS_READ
    has_secrets = True

    @idempotent
    def create(self, request: Request) -> Response:
        """Issues a token. It is shown once."""
        with self.work_transaction():
            issued = stream_token_issue(principal=self.principal, stream_id=mesh_stream(self.principal.tenant_id))
            shown = {"token": issued.secret, "expiresAt": milliseconds(issued.expires_at)}
            return self.store_response(Response(shown))
