"""The Agentbus face's share of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from edge_app.openapi import FaceDocument, Operation, Resolve, Schema, parameter
from edge_app.rest.paging import LIMIT_SCHEMA, MAX_LIMIT
from faces.agentbus.views import AgentbusSessionViewSet, MessageBodySerializer, SessionBodySerializer

TAG = "Agentbus"
ERROR = "AgentbusError"
_LIMIT = parameter("limit", LIMIT_SCHEMA, f"How many at most; values above {MAX_LIMIT} count as {MAX_LIMIT}.")


class AgentbusSessionSerializer(serializers.Serializer[Any]):
    """A session; times are seconds since the epoch."""

    session_id = serializers.CharField(help_text="The session's id.")
    client_id = serializers.CharField(
        allow_null=True, help_text="The client that created the session; null for sessions of other protocols."
    )
    message_count = serializers.IntegerField(help_text="Messages in the conversation.")
    created_at = serializers.FloatField(help_text="The moment of creation, in seconds since the epoch.")
    updated_at = serializers.FloatField(help_text="The moment of the last change, in seconds since the epoch.")
    state = serializers.CharField(help_text="What the session does or waits for.")
    id = serializers.CharField(help_text="The session's id again, for clients of the Codelab protocol.")
    title = serializers.CharField(allow_null=True, help_text="The title; null without one.")
    last_activity = serializers.FloatField(help_text="The moment of the last change, in seconds since the epoch.")
    is_active = serializers.BooleanField(help_text="False once the session is deleted.")
    current_agent = serializers.CharField(help_text="The agent, or without one the model.")


class AgentbusSessionListSerializer(serializers.Serializer[Any]):
    """Sessions, the newest first."""

    sessions = AgentbusSessionSerializer(many=True, help_text="The tenant's sessions.")


class AgentbusCreatedSerializer(serializers.Serializer[Any]):
    """A created session."""

    session_id = serializers.CharField(help_text="The session's id.")
    client_id = serializers.CharField(allow_null=True, help_text="The client's own id, as it was sent.")
    created_at = serializers.FloatField(help_text="The moment of creation, in seconds since the epoch.")


class AgentbusDeletedSerializer(serializers.Serializer[Any]):
    """A deleted session."""

    session_id = serializers.CharField(help_text="The session's id.")
    status = serializers.CharField(help_text="Always `deleted`.")


class AgentbusMessageSerializer(serializers.Serializer[Any]):
    """A message of a conversation."""

    message_id = serializers.CharField(help_text="The message's id.")
    role = serializers.CharField(help_text="The author: `user`, `assistant`, `system` or `tool`.")
    content = serializers.CharField(help_text="The text of the message.")
    timestamp = serializers.FloatField(
        help_text="The moment at which the message was stored, in seconds since the epoch."
    )
    metadata = serializers.DictField(help_text="The run (`run_id`), and tool calls or the call that a result answers.")


class AgentbusHistorySerializer(serializers.Serializer[Any]):
    """The newest messages of a session."""

    session_id = serializers.CharField(help_text="The session's id.")
    messages = AgentbusMessageSerializer(many=True, help_text="The newest messages, the oldest of them first.")
    total = serializers.IntegerField(help_text="Messages in the whole conversation.")


class AgentbusReceiptSerializer(serializers.Serializer[Any]):
    """The receipt of a prompt."""

    run_id = serializers.CharField(help_text="The run that the message started.")
    message_id = serializers.CharField(help_text="The id of the accepted message.")


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
    error = _object(code=_count("The protocol's number of the error."), message=_text("A sentence for people."))
    return {ERROR: _object(error={**error, "description": "The error."})}


def _object(**properties: Schema) -> Schema:
    """Returns the schema of an object that always has all of these fields."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _text(description: str, *, optional: bool = False) -> Schema:
    return {"type": ["string", "null"] if optional else "string", "description": description}


def _number(description: str) -> Schema:
    return {"type": "number", "description": description}


def _count(description: str) -> Schema:
    return {"type": "integer", "description": description}


_STATUS = _object(
    name=_text("The gateway's name."),
    version=_text("The gateway's version."),
    status=_text("`ok` while the gateway responds."),
    timestamp=_number("The moment of the response, in seconds since the epoch."),
    uptime=_number("Seconds since the start of this process."),
)
_CLIENT = _object(
    client_id=_text("The client's id."),
    client_name=_text("The client's name for people."),
    platform=_text("The platform, as the client says; null without one.", optional=True),
    version=_text("The client's version; null without one.", optional=True),
    capabilities={"type": "array", "items": {"type": "string"}, "description": "What the client can do."},
    connected_at=_number("The moment of the connection, in seconds since the epoch."),
    last_activity=_number("The moment of the last frame, in seconds since the epoch."),
    state=_text("The state of the connection."),
)
_CLIENTS = _object(clients={"type": "array", "items": _CLIENT, "description": "The tenant's connected clients."})
_STATS = _object(
    connections=_count("Open sockets of this process."),
    uptime=_number("Seconds since the start of this process."),
    memory_usage={"type": ["integer", "null"], "description": "Memory of this process in bytes; null if unknown."},
    requests_total=_count("RPC requests since the start of this process."),
    total_sessions=_count("Sessions of the tenant."),
    active_runs=_count("Runs of the tenant that are in progress."),
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
            example={"client_id": "first-client"},
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
            example={"message": "Hello, gateway"},
            responses={202: AgentbusReceiptSerializer},
            errors=(409, 422),
        ),
    },
    paths=paths,
    error=ERROR,
    schemas=schemas,
    path_parameters={"session_id": "The session's id, `sessionId`."},
)
