"""The runs of a session."""

from __future__ import annotations

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.paging import cursor_of, limit_of, next_cursor
from edge_app.rest.viewsets import GatewayViewSet
from faces.native.views.prompts import abort_response
from sessions_app import wire
from sessions_app.selectors import run_get, runs_page, session_get
from tenants_app.principal import SESSIONS, SESSIONS_READ
from tenants_app.selectors.ledger import ledger_of_run


class RunViewSet(GatewayViewSet):
    """Runs below `/v1/sessions/:id/runs`, the newest first."""

    scope = SESSIONS
    scopes = dict.fromkeys(("list", "retrieve", "responses"), SESSIONS_READ)
    lookup_url_kwarg = "request_id"

    def list(self, request: Request, session_id: str) -> Response:
        session = session_get(self.principal, session_id)
        found, cursor = runs_page(session, before=cursor_of(request), limit=limit_of(request))
        return Response({"runs": [wire.run_to_wire(run) for run in found], "nextCursor": next_cursor(cursor)})

    def retrieve(self, request: Request, session_id: str, request_id: str) -> Response:
        return Response(wire.run_to_wire(run_get(session_get(self.principal, session_id), request_id)))

    @action(detail=True, name="Run Responses")
    def responses(self, request: Request, session_id: str, request_id: str) -> Response:
        """Returns the model responses of this run with what each cost, the oldest first."""
        run = run_get(session_get(self.principal, session_id), request_id)
        entries = ledger_of_run(tenant_id=self.principal.tenant_id, run_id=run.pk)
        return Response({"responses": [wire.response_to_wire(entry) for entry in entries]})

    @action(detail=True, methods=["post"])
    def abort(self, request: Request, session_id: str, request_id: str) -> Response:
        """Aborts this run."""
        return abort_response(self, session_id, request_id)
