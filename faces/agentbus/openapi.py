"""The Agentbus face's share of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from edge_app.openapi import FaceDocument, Operation, Resolve, Schema, parameter
from faces.agentbus.views import AgentbusSessionViewSet, MessageBodySerializer, SessionBodySerializer

TAG = "Agentbus"
ERROR = "AgentbusError"
_LIMIT = parameter("limit", {"type": "integer", "minimum": 1, "maximum": 200}, "How many at most.")


class AgentbusSessionSerializer(serializers.Serializer[Any]):
    """A session; times are seconds since the epoch."""

    session_id = serializers.CharField()
    client_id = serializers.CharField(allow_null=True)
    message_count = serializers.IntegerField()
    created_at = serializers.FloatField()
    updated_at = serializers.FloatField()
    state = serializers.CharField()
    id = serializers.CharField()
    title = serializers.CharField(allow_null=True)
    last_activity = serializers.FloatField()
    is_active = serializers.BooleanField()
    current_agent = serializers.CharField()


class AgentbusSessionListSerializer(serializers.Serializer[Any]):
    """Sessions, the newest first."""

    sessions = AgentbusSessionSerializer(many=True)


class AgentbusCreatedSerializer(serializers.Serializer[Any]):
    """A created session."""

    session_id = serializers.CharField()
    client_id = serializers.CharField(allow_null=True)
    created_at = serializers.FloatField()


class AgentbusDeletedSerializer(serializers.Serializer[Any]):
    """A deleted session."""

    session_id = serializers.CharField()
    status = serializers.CharField()


class AgentbusMessageSerializer(serializers.Serializer[Any]):
    """A message of a conversation."""

    message_id = serializers.CharField()
    role = serializers.CharField()
    content = serializers.CharField()
    timestamp = serializers.FloatField()
    metadata = serializers.DictField()


class AgentbusHistorySerializer(serializers.Serializer[Any]):
    """The newest messages of a session."""

    session_id = serializers.CharField()
    messages = AgentbusMessageSerializer(many=True)
    total = serializers.IntegerField()


class AgentbusReceiptSerializer(serializers.Serializer[Any]):
    """The receipt of a prompt."""

    run_id = serializers.CharField()
    message_id = serializers.CharField()


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the paths of the socket and of the endpoints that have no view."""
    made: dict[str, Schema] = {
        path: {"get": _socket(name)}
        for path, name in (
            ("/rpc", "agentbus"),
            ("/", "agentbusRoot"),
            ("/ws", "agentbusWs"),
            ("/ws/", "agentbusWsSlash"),
        )
    }
    made["/status"] = {"get": _endpoint("agentbusStatus", "Get the server's status", _STATUS, key=False)}
    made["/api/v1/clients"] = {"get": _endpoint("agentbusClients", "List connected clients", _CLIENTS)}
    made["/api/v1/stats"] = {"get": _endpoint("agentbusStats", "Get counts", _STATS)}
    return made


def schemas() -> Mapping[str, Schema]:
    """Returns the component of the protocol's errors."""
    return {ERROR: _object(error=_object(code=_COUNT, message=_TEXT))}


def _object(**properties: Schema) -> Schema:
    """Returns the schema of an object that always has all of these fields."""
    return {"type": "object", "properties": properties, "required": list(properties)}


_TEXT: Schema = {"type": "string"}
_OPTIONAL_TEXT: Schema = {"type": ["string", "null"]}
_NUMBER: Schema = {"type": "number"}
_COUNT: Schema = {"type": "integer"}
_STATUS = _object(name=_TEXT, version=_TEXT, status=_TEXT, timestamp=_NUMBER, uptime=_NUMBER)
_CLIENT = _object(
    client_id=_TEXT,
    client_name=_TEXT,
    platform=_OPTIONAL_TEXT,
    version=_OPTIONAL_TEXT,
    capabilities={"type": "array", "items": _TEXT},
    connected_at=_NUMBER,
    last_activity=_NUMBER,
    state=_TEXT,
)
_CLIENTS = _object(clients={"type": "array", "items": _CLIENT})
_STATS = _object(
    connections=_COUNT,
    uptime=_NUMBER,
    memory_usage={"type": ["integer", "null"]},
    requests_total=_COUNT,
    total_sessions=_COUNT,
    active_runs=_COUNT,
)


def _socket(name: str) -> Schema:
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": "Open the RPC socket",
        "responses": {"101": {"description": "The socket is open; the first request is `connect`."}},
        "x-open": True,
        "x-errors": [404],
    }


def _endpoint(name: str, summary: str, schema: Schema, *, key: bool = True) -> Schema:
    access: Schema = {"x-scope": "sessions"} if key else {"x-open": True}
    return access | {
        "operationId": name,
        "tags": [TAG],
        "summary": summary,
        "responses": {"200": {"description": summary, "content": {"application/json": {"schema": schema}}}},
    }


DOCUMENT = FaceDocument(
    tags=(TAG,),
    operations={
        (AgentbusSessionViewSet, "list"): Operation(
            id="agentbusSessions",
            tag=TAG,
            summary="List sessions",
            responses={200: AgentbusSessionListSerializer},
            query=(_LIMIT,),
        ),
        (AgentbusSessionViewSet, "create"): Operation(
            id="agentbusCreateSession",
            tag=TAG,
            summary="Create a session",
            request=SessionBodySerializer,
            responses={201: AgentbusCreatedSerializer},
            errors=(409, 422),
            located=True,
        ),
        (AgentbusSessionViewSet, "retrieve"): Operation(
            id="agentbusSession", tag=TAG, summary="Get a session", responses={200: AgentbusSessionSerializer}
        ),
        (AgentbusSessionViewSet, "destroy"): Operation(
            id="agentbusDeleteSession",
            tag=TAG,
            summary="Delete a session",
            responses={200: AgentbusDeletedSerializer},
        ),
        (AgentbusSessionViewSet, "messages"): Operation(
            id="agentbusMessages",
            tag=TAG,
            summary="Get the newest messages",
            responses={200: AgentbusHistorySerializer},
            query=(_LIMIT,),
        ),
        (AgentbusSessionViewSet, "send"): Operation(
            id="agentbusSend",
            tag=TAG,
            summary="Send a message",
            request=MessageBodySerializer,
            responses={202: AgentbusReceiptSerializer},
            errors=(409, 422),
        ),
    },
    paths=paths,
    error=ERROR,
    schemas=schemas,
    path_parameters={"session_id": "The session's id, `sessionId`."},
)
