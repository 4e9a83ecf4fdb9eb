"""REST of the Agentbus protocol: sessions and their messages (docs/protocol-agentbus.md, "HTTP")."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from edge_app.rest.fields import StrictPattern, StrictString
from edge_app.rest.paging import limit_of
from edge_app.rest.viewsets import GatewayViewSet, idempotent
from faces.agentbus.methods.chat import MAX_MESSAGE, HistoryParameters, SendParameters, history, send
from faces.agentbus.shapes import sessions_newest, sessions_to_wire
from sessions_app.selectors import session_get
from sessions_app.services.conversation import session_ensure
from sessions_app.services.session import session_close
from tenants_app.principal import SESSIONS


class SessionBodySerializer(serializers.Serializer[Any]):
    """POST /api/v1/sessions."""

    session_id = StrictPattern(
        r"[A-Za-z0-9_-]{1,64}",
        required=False,
        allow_null=True,
        help_text="An id of the client's choice; by default the gateway makes one. A session that exists is returned.",
    )
    client_id = StrictString(
        required=False, allow_null=True, max_length=128, help_text="The client's own id, returned with the session."
    )
    model = StrictString(
        required=False,
        allow_null=True,
        max_length=200,
        help_text="The model of a new session: a public name, an alias or `provider:model`.",
    )
    agent = StrictString(
        required=False, allow_null=True, max_length=200, help_text="The configured agent of a new session."
    )


class MessageBodySerializer(serializers.Serializer[Any]):
    """POST /api/v1/sessions/:id/messages."""

    message = StrictString(max_length=MAX_MESSAGE, help_text="The text of the prompt.")
    type = StrictString(
        required=False,
        allow_null=True,
        max_length=64,
        help_text="A label of the protocol; it is accepted and has no effect.",
    )


class AgentbusSessionViewSet(GatewayViewSet):
    """Sessions of the tenant, the newest first."""

    scope = SESSIONS
    lookup_url_kwarg = "session_id"

    def list(self, request: Request) -> Response:
        found = sessions_newest(self.principal, limit_of(request, default=100))
        return Response({"sessions": sessions_to_wire(found)})

    @idempotent
    def create(self, request: Request) -> Response:
        data = self.parse_body(SessionBodySerializer).validated_data
        with self.work_transaction():
            session = session_ensure(
                principal=self.principal,
                public_id=data.get("session_id"),
                model=data.get("model"),
                agent=data.get("agent"),
                client_id=data.get("client_id"),
            )
            shown = {
                "session_id": session.public_id,
                "client_id": data.get("client_id"),
                "created_at": session.created_at.timestamp(),
            }
            location = {"Location": f"/api/v1/sessions/{session.public_id}"}
            return self.store_response(Response(shown, status=201, headers=location))

    def retrieve(self, request: Request, session_id: str) -> Response:
        return Response(sessions_to_wire([session_get(self.principal, session_id)])[0])

    def destroy(self, request: Request, session_id: str) -> Response:
        session_close(principal=self.principal, public_id=session_id)
        return Response({"session_id": session_id, "status": "deleted"})

    @action(detail=True, methods=["get"], name="Session Messages")
    def messages(self, request: Request, session_id: str) -> Response:
        """Returns the newest messages, the oldest of them first."""
        session_get(self.principal, session_id)
        wanted = HistoryParameters(session_id=session_id, limit=limit_of(request, default=100))
        return Response(history(self.principal, wanted))

    @messages.mapping.post
    @idempotent
    def send(self, request: Request, session_id: str) -> Response:
        """Sends a prompt; behind a run that is under way it is queued."""
        data = self.parse_body(MessageBodySerializer).validated_data
        session_get(self.principal, session_id)
        with self.work_transaction():
            wanted = SendParameters(session_id=session_id, message=data["message"], queue=True)
            receipt, _ = send(self.principal, wanted, None)
            shown = {"run_id": receipt["run_id"], "message_id": receipt["message_id"]}
            return self.store_response(Response(shown, status=202))
