"""Sessions: create, list, get, change, close, and read what they contain."""

from __future__ import annotations

from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from core_app import clock
from edge_app.rest.paging import cursor_of, limit_of, next_cursor
from edge_app.rest.viewsets import idempotent
from faces.native.serializers import ForkSerializer
from faces.native.session_serializers import SessionCreateSerializer, SessionPatchSerializer
from faces.native.views.decisions import DecisionActions
from faces.native.views.prompts import PromptActions
from sessions_app import wire
from sessions_app.models import AgentSession, RunState
from sessions_app.selectors import messages_page, run_active, runs_unfinished, session_get, sessions_page
from sessions_app.services.erasure import session_erase
from sessions_app.services.fork import session_fork
from sessions_app.services.session import session_change, session_close, session_create
from sessions_app.services.stream_token import session_token_issue
from sessions_app.session_filter import SessionFilter
from tenants_app.principal import ADMIN, SESSIONS, SESSIONS_READ
from tenants_app.selectors.ledger import ledger_by_model


class SessionViewSet(PromptActions, DecisionActions):
    """Sessions of the tenant, the newest first."""

    scope = SESSIONS
    scopes = dict.fromkeys(("list", "retrieve", "messages", "stats", "status", "stream_token"), SESSIONS_READ)
    lookup_url_kwarg = "session_id"

    def list(self, request: Request) -> Response:
        found, cursor = sessions_page(
            self.principal,
            before=cursor_of(request),
            limit=limit_of(request),
            filters=SessionFilter.parse(request.query_params).condition(self.principal.tenant_id),
            group=request.query_params.get("groupId") or None,
        )
        sessions = [wire.session_to_wire(session, newest=session.stream.newest) for session in found]
        return Response({"sessions": sessions, "nextCursor": next_cursor(cursor)})

    @idempotent
    def create(self, request: Request) -> Response:
        serializer = self.parse_body(SessionCreateSerializer)
        with self.work_transaction():
            session = session_create(principal=self.principal, request=serializer.to_request())
            return self.store_response(_created_response(session))

    def retrieve(self, request: Request, session_id: str) -> Response:
        return Response(wire.session_to_wire(session_get(self.principal, session_id)))

    def partial_update(self, request: Request, session_id: str) -> Response:
        session_get(self.principal, session_id)
        changes = self.parse_body(SessionPatchSerializer).validated_data
        session = session_change(principal=self.principal, public_id=session_id, changes=changes)
        return Response(wire.session_to_wire(session))

    def destroy(self, request: Request, session_id: str) -> Response:
        if request.query_params.get("purge") == "true":
            self.principal.require(ADMIN)
            session_erase(tenant_id=self.principal.tenant_id, public_id=session_id, actor=self.principal.actor)
        else:
            session_close(principal=self.principal, public_id=session_id)
        return Response(status=204)

    @action(detail=True, methods=["post"], name="Session Fork")
    @idempotent
    def fork(self, request: Request, session_id: str) -> Response:
        """Creates a session with the history up to a message."""
        session_get(self.principal, session_id)
        data = self.parse_body(ForkSerializer).validated_data
        with self.work_transaction():
            fork = session_fork(
                principal=self.principal,
                public_id=session_id,
                message_id=data["messageId"],
                fork_id=data.get("sessionId"),
                title=data.get("title"),
            )
            return self.store_response(_created_response(fork))

    @action(detail=True, name="Session Messages")
    def messages(self, request: Request, session_id: str) -> Response:
        """Returns the conversation, the oldest message first."""
        session = session_get(self.principal, session_id)
        found, cursor = messages_page(session, after=cursor_of(request) or 0, limit=limit_of(request, default=200))
        messages = [wire.message_to_wire(message) for message in found]
        return Response({"messages": messages, "nextCursor": next_cursor(cursor)})

    @action(detail=True, name="Session Stats")
    def stats(self, request: Request, session_id: str) -> Response:
        """Returns the session's statistics."""
        session = session_get(self.principal, session_id)
        by_model = ledger_by_model(tenant_id=session.tenant_id, session_ref=session.public_id)
        return Response(wire.stats_to_wire(session, by_model))

    @action(detail=True, name="Session Status")
    def status(self, request: Request, session_id: str) -> Response:
        """Returns what the session does and waits for."""
        session = session_get(self.principal, session_id)
        queued = runs_unfinished(session.pk).filter(state=RunState.QUEUED).count()
        return Response(wire.status_to_wire(session, run_active(session.pk), queued))

    @action(detail=True, methods=["post"], url_path="stream-token", name="Stream Token")
    def stream_token(self, request: Request, session_id: str) -> Response:
        """Issues a token for clients that cannot send a header."""
        issued = session_token_issue(principal=self.principal, public_id=session_id)
        body = {"token": issued.secret, "expiresAt": clock.iso_ms(issued.expires_at)}
        return Response(body, headers={"Cache-Control": "no-store"})


def _created_response(session: AgentSession) -> Response:
    location = f"/v1/sessions/{session.public_id}"
    return Response(wire.session_to_wire(session), status=201, headers={"Location": location})
