"""The Codelab face's share of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from edge_app.openapi import FaceDocument, Operation, Resolve, Schema, parameter
from faces.codelab.execute import MAX_SECONDS
from faces.codelab.views import CodelabAgentViewSet, CodelabEventViewSet, CodelabSessionViewSet

TAG = "Codelab"
ERROR = "CodelabError"
_LIMIT = parameter("limit", {"type": "integer", "minimum": 1, "maximum": 200}, "How many at most.")


class CodelabAgentSerializer(serializers.Serializer[Any]):
    """An agent; `type` is its name in `switch_agent`."""

    type = serializers.CharField()
    name = serializers.CharField()
    description = serializers.CharField()
    allowed_tools = serializers.ListField(child=serializers.CharField())
    has_file_restrictions = serializers.BooleanField()


class CodelabAgentListSerializer(serializers.Serializer[Any]):
    """The configured agents."""

    agents = CodelabAgentSerializer(many=True)
    total = serializers.IntegerField()


class CodelabSwitchSerializer(serializers.Serializer[Any]):
    """A switch of a session's agent."""

    from_agent = serializers.CharField(allow_null=True)
    to_agent = serializers.CharField()
    reason = serializers.CharField(allow_null=True)
    at = serializers.CharField()


class CodelabCurrentAgentSerializer(serializers.Serializer[Any]):
    """The agent of a session, and how it came to be."""

    session_id = serializers.CharField()
    current_agent = serializers.CharField()
    agent_history = CodelabSwitchSerializer(many=True)
    switch_count = serializers.IntegerField()


class CodelabMessageSerializer(serializers.Serializer[Any]):
    """A message of a conversation."""

    role = serializers.CharField()
    content = serializers.CharField()
    tool_calls = serializers.ListField(required=False)
    tool_call_id = serializers.CharField(required=False)


class CodelabHistorySerializer(serializers.Serializer[Any]):
    """The newest messages of a session."""

    session_id = serializers.CharField()
    messages = CodelabMessageSerializer(many=True)
    message_count = serializers.IntegerField()
    last_activity = serializers.CharField()
    current_agent = serializers.CharField()
    agent_history = CodelabSwitchSerializer(many=True)


class CodelabApprovalSerializer(serializers.Serializer[Any]):
    """A call that waits for a decision."""

    request_id = serializers.CharField()
    request_type = serializers.CharField()
    subject = serializers.CharField()
    details = serializers.DictField()
    reason = serializers.CharField(allow_null=True)
    created_at = serializers.CharField()
    call_id = serializers.CharField()
    tool_name = serializers.CharField()
    arguments = serializers.JSONField()


class CodelabApprovalListSerializer(serializers.Serializer[Any]):
    """The calls of a session that wait for a decision."""

    session_id = serializers.CharField()
    pending_approvals = CodelabApprovalSerializer(many=True)
    count = serializers.IntegerField()


class CodelabMetricsSerializer(serializers.Serializer[Any]):
    """Counts of the tenant's newest sessions."""

    metrics = serializers.DictField()
    computed = serializers.DictField(child=serializers.FloatField())
    sessions = serializers.IntegerField()
    timestamp = serializers.CharField()


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the paths of the sockets and of the execution of tools."""
    return {
        "/ws/{session_id}": {"get": _socket("codelabSocket")},
        "/api/v1/ws/{session_id}": {"get": _socket("codelabSocketV1")},
        "/tool/execute/{session_id}": {"post": _EXECUTE},
    }


def schemas() -> Mapping[str, Schema]:
    """Returns the component of the protocol's errors."""
    fields: Schema = {"detail": {"type": "string"}, "code": {"type": "string"}, "status": {"type": "string"}}
    return {ERROR: {"type": "object", "properties": fields, "required": ["detail"]}}


_SESSION: Schema = {"name": "session_id", "in": "path", "required": True, "schema": {"type": "string"}}


def _socket(name: str) -> Schema:
    return {
        "operationId": name,
        "tags": [TAG],
        "summary": "Open the IDE's socket of a session",
        "description": "The frames are described in docs/protocol-codelab.md.",
        "parameters": [
            _SESSION,
            {
                "name": "since",
                "in": "query",
                "schema": {"type": "string"},
                "description": "The `offset` of the last frame that the client has; what came after it is sent first.",
            },
            {
                "name": "token",
                "in": "query",
                "schema": {"type": "string"},
                "description": "An API key or a stream token, for clients that cannot send headers.",
            },
        ],
        "responses": {"101": {"description": "The socket is open."}},
        "x-scope": "sessions",
    }


def _answer(description: str, **properties: Any) -> Schema:
    shape = {"type": "object", "properties": {name: {"type": kind} for name, kind in properties.items()}}
    return {"description": description, "content": {"application/json": {"schema": shape}}}


_EXECUTE: Schema = {
    "operationId": "codelabExecuteTool",
    "tags": [TAG],
    "summary": "Have the session's IDE run a tool, and wait for its result",
    "parameters": [
        _SESSION,
        {
            "name": "X-Internal-Auth",
            "in": "header",
            "required": True,
            "schema": {"type": "string"},
            "description": "A key of `GATEWAY_INTERNAL_API_KEY`.",
        },
    ],
    "security": [],
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "type": "object",
                    "required": ["call_id", "tool_name"],
                    "properties": {
                        "type": {"const": "tool_call"},
                        "call_id": {"type": "string", "minLength": 1},
                        "tool_name": {"type": "string", "minLength": 1},
                        "arguments": {"type": "object"},
                        "timeout_seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SECONDS},
                    },
                }
            }
        },
    },
    "responses": {
        "200": _answer("The tool's result, or its error.", status="string", detail="string"),
        "401": _answer("The key is wrong.", detail="string"),
        "404": _answer("There is no such session.", status="string", detail="string"),
        "409": _answer("No client is connected.", status="string", detail="string"),
        "422": _answer("The body is invalid.", detail="string"),
        "503": _answer("GATEWAY_INTERNAL_API_KEY is not set.", detail="string"),
        "504": _answer("The result did not come in time.", status="string", detail="string"),
    },
}

_FILTERS: Schema = {
    "type": "object",
    "properties": {
        "session_id": {"type": ["string", "null"]},
        "event_type": {"type": ["string", "null"]},
        "limit": {"type": "integer"},
    },
    "required": ["session_id", "event_type", "limit"],
}
_ENTRY: Schema = {
    "type": "object",
    "description": "Further fields depend on `event_type` (docs/protocol-codelab.md).",
    "properties": {
        "timestamp": {"type": "string"},
        "event_type": {"type": "string"},
        "event_id": {"type": "string"},
        "session_id": {"type": ["string", "null"]},
    },
    "required": ["timestamp", "event_type", "event_id", "session_id"],
    "additionalProperties": True,
}
_AUDIT_LOG: Schema = {
    "type": "object",
    "properties": {
        "audit_log": {"type": "array", "items": _ENTRY},
        "count": {"type": "integer"},
        "filters": _FILTERS,
    },
    "required": ["audit_log", "count", "filters"],
}

DOCUMENT = FaceDocument(
    tags=(TAG,),
    operations={
        (CodelabAgentViewSet, "list"): Operation(
            id="codelabAgents", tag=TAG, summary="List agents", responses={200: CodelabAgentListSerializer}
        ),
        (CodelabAgentViewSet, "current"): Operation(
            id="codelabCurrentAgent",
            tag=TAG,
            summary="Get the agent of a session",
            responses={200: CodelabCurrentAgentSerializer},
        ),
        (CodelabSessionViewSet, "history"): Operation(
            id="codelabHistory",
            tag=TAG,
            summary="Get the newest messages of a session",
            responses={200: CodelabHistorySerializer},
            query=(_LIMIT,),
        ),
        (CodelabSessionViewSet, "pending_approvals"): Operation(
            id="codelabPendingApprovals",
            tag=TAG,
            summary="List calls that wait for a decision",
            responses={200: CodelabApprovalListSerializer},
        ),
        (CodelabEventViewSet, "audit_log"): Operation(
            id="codelabAuditLog",
            tag=TAG,
            summary="Get what was decided, switched and failed",
            responses={200: _AUDIT_LOG},
            query=(
                parameter(
                    "session_id",
                    {"type": "string"},
                    "The session. Without it the tenant's audit trail, which needs the scope `admin`.",
                ),
                parameter("event_type", {"type": "string"}, "Only entries of this type."),
                _LIMIT,
            ),
            errors=(403, 404),
        ),
        (CodelabEventViewSet, "metrics"): Operation(
            id="codelabMetrics",
            tag=TAG,
            summary="Get counts of the newest sessions",
            responses={200: CodelabMetricsSerializer},
        ),
    },
    paths=paths,
    error=ERROR,
    schemas=schemas,
    path_parameters={"session_id": "The session's id, `sessionId`."},
)
