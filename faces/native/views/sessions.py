"""Sessions: create, list, get, patch, delete, and reading what they hold."""

from __future__ import annotations

from datetime import UTC, datetime

from django.db.models import Q
from django.utils.dateparse import parse_datetime
from rest_framework.request import Request
from rest_framework.response import Response

from core_app.errors import BadRequest
from edge_app.rest.paging import cursor_of, limit_of
from edge_app.rest.viewsets import GatewayAPIView, idempotent
from faces.native.serializers import ForkSerializer, SessionCreateSerializer, SessionPatchSerializer
from sessions_app import wire
from sessions_app.models import AgentSession, RunState, SessionState
from sessions_app.selectors import (
    messages_page,
    run_active,
    run_get,
    runs_page,
    runs_unfinished,
    session_get,
    sessions_page,
)
from sessions_app.services.erasure import session_erase
from sessions_app.services.fork import session_fork
from sessions_app.services.session import session_change, session_close, session_create
from tenants_app.principal import ADMIN, SESSIONS
from tenants_app.selectors.ledger import ledger_by_model


class SessionList(GatewayAPIView):
    """POST creates, GET lists the newest first."""

    scope = SESSIONS

    def get(self, request: Request) -> Response:
        found, cursor = sessions_page(
            self.principal,
            before=cursor_of(request),
            limit=limit_of(request),
            filters=_filters(request),
            group=request.query_params.get("groupId") or None,
        )
        sessions = [wire.session_to_wire(session, head=session.stream.head) for session in found]
        return Response({"sessions": sessions, "nextCursor": _cursor(cursor)})

    @idempotent
    def post(self, request: Request) -> Response:
        serializer = SessionCreateSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        with self.once():
            session = session_create(principal=self.principal, request=serializer.to_request())
            return self.keep(_created(session))


class SessionDetail(GatewayAPIView):
    """One session."""

    scope = SESSIONS

    def get(self, request: Request, session_id: str) -> Response:
        return Response(wire.session_to_wire(session_get(self.principal, session_id)))

    def patch(self, request: Request, session_id: str) -> Response:
        session_get(self.principal, session_id)
        serializer = SessionPatchSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        changes = serializer.to_changes()
        return Response(
            wire.session_to_wire(session_change(principal=self.principal, public_id=session_id, changes=changes))
        )

    def delete(self, request: Request, session_id: str) -> Response:
        if request.query_params.get("purge") == "true":
            self.principal.require(ADMIN)
            session_erase(tenant_id=self.principal.tenant_id, public_id=session_id, actor=self.principal.actor)
            return Response(status=204)
        session_close(principal=self.principal, public_id=session_id)
        return Response(status=204)


class SessionStats(GatewayAPIView):
    """The session's statistics."""

    scope = SESSIONS

    def get(self, request: Request, session_id: str) -> Response:
        session = session_get(self.principal, session_id)
        by_model = ledger_by_model(tenant_id=session.tenant_id, session_ref=session.public_id)
        return Response(wire.stats_to_wire(session, by_model))


class SessionStatus(GatewayAPIView):
    """What the session does and waits for."""

    scope = SESSIONS

    def get(self, request: Request, session_id: str) -> Response:
        session = session_get(self.principal, session_id)
        queued = runs_unfinished(session.pk).filter(state=RunState.QUEUED).count()
        return Response(wire.status_to_wire(session, run_active(session.pk), queued))


class SessionMessages(GatewayAPIView):
    """The conversation, oldest first."""

    scope = SESSIONS

    def get(self, request: Request, session_id: str) -> Response:
        session = session_get(self.principal, session_id)
        found, cursor = messages_page(session, after=cursor_of(request) or 0, limit=limit_of(request, default=200))
        return Response({"messages": [wire.message_to_wire(row) for row in found], "nextCursor": _cursor(cursor)})


class SessionFork(GatewayAPIView):
    """POST …/fork."""

    scope = SESSIONS

    @idempotent
    def post(self, request: Request, session_id: str) -> Response:
        session_get(self.principal, session_id)
        serializer = ForkSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        data = serializer.validated_data
        with self.once():
            fork = session_fork(
                principal=self.principal,
                public_id=session_id,
                message_id=data["messageId"],
                fork_id=data.get("sessionId"),
                title=data.get("title"),
            )
            return self.keep(_created(fork))


class RunList(GatewayAPIView):
    """The session's runs, newest first."""

    scope = SESSIONS

    def get(self, request: Request, session_id: str) -> Response:
        session = session_get(self.principal, session_id)
        found, cursor = runs_page(session, before=cursor_of(request), limit=limit_of(request))
        return Response({"runs": [wire.run_to_wire(run) for run in found], "nextCursor": _cursor(cursor)})


class RunDetail(GatewayAPIView):
    """One run."""

    scope = SESSIONS

    def get(self, request: Request, session_id: str, request_id: str) -> Response:
        return Response(wire.run_to_wire(run_get(session_get(self.principal, session_id), request_id)))


def _cursor(key: int | None) -> str | None:
    return str(key) if key is not None else None


def _filters(request: Request) -> Q:
    filters = Q()
    query = request.query_params
    if state := query.get("state"):
        if state not in SessionState.values:
            raise BadRequest(f"'state' is one of {', '.join(SessionState.values)}.", field="state")
        filters &= Q(state=state)
    if agent := query.get("agent"):
        filters &= Q(agent=agent)
    if since := query.get("since"):
        filters &= Q(created_at__gte=_moment(since))
    return filters


def _moment(text: str) -> datetime:
    try:
        moment = parse_datetime(text.replace(" ", "+"))
        if moment is not None:
            return moment.astimezone(UTC) if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):  # 0001-01-01T00:00+23:00 is before every instant of ours
        pass
    raise BadRequest("'since' must be an ISO 8601 date and time.", field="since")


def _created(session: AgentSession) -> Response:
    location = f"/v1/sessions/{session.public_id}"
    return Response(wire.session_to_wire(session), status=201, headers={"Location": location})
