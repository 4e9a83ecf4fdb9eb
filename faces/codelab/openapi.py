"""The Codelab face's share of the OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework import serializers

from edge_app.openapi import FaceDocument, Operation, Resolve, Schema, parameter
from edge_app.rest.paging import LIMIT_SCHEMA, MAX_LIMIT
from faces.codelab.execute import MAX_SECONDS
from faces.codelab.views import CodelabAgentViewSet, CodelabEventViewSet, CodelabSessionViewSet

TAG = "Codelab"
ERROR = "CodelabError"
_LIMIT = parameter("limit", LIMIT_SCHEMA, f"How many at most; values above {MAX_LIMIT} count as {MAX_LIMIT}.")


class CodelabAgentSerializer(serializers.Serializer[Any]):
    """An agent; `type` is its name in `switch_agent`."""

    type = serializers.CharField(help_text="The agent's id, its name in `switch_agent`.")
    name = serializers.CharField(help_text="The agent's name for people.")
    description = serializers.CharField(help_text="What the agent does.")
    allowed_tools = serializers.ListField(
        child=serializers.CharField(), help_text="The built-in tools that the agent may use."
    )
    has_file_restrictions = serializers.BooleanField(help_text="Always false: the gateway restricts no files.")


class CodelabAgentListSerializer(serializers.Serializer[Any]):
    """The configured agents."""

    agents = CodelabAgentSerializer(many=True, help_text="The agents that the tenant can use.")
    total = serializers.IntegerField(help_text="The number of agents.")


class CodelabSwitchSerializer(serializers.Serializer[Any]):
    """A switch of a session's agent."""

    from_agent = serializers.CharField(allow_null=True, help_text="The agent before; null where it is not known.")
    to_agent = serializers.CharField(help_text="The agent after.")
    reason = serializers.CharField(allow_null=True, help_text="Why it was switched; null without a reason.")
    at = serializers.CharField(help_text="The moment of the switch.")


class CodelabCurrentAgentSerializer(serializers.Serializer[Any]):
    """The agent of a session, and how it came to be."""

    session_id = serializers.CharField(help_text="The session's id.")
    current_agent = serializers.CharField(help_text="The agent, or without one the model.")
    agent_history = CodelabSwitchSerializer(many=True, help_text="The switches so far, the oldest first.")
    switch_count = serializers.IntegerField(help_text="The number of switches.")


class CodelabMessageSerializer(serializers.Serializer[Any]):
    """A message of a conversation."""

    role = serializers.CharField(help_text="The author: `user`, `assistant`, `system` or `tool`.")
    content = serializers.CharField(help_text="The text of the message.")
    tool_calls = serializers.ListField(required=False, help_text="The tool calls of an assistant's message.")
    tool_call_id = serializers.CharField(required=False, help_text="The call that a result answers.")


class CodelabHistorySerializer(serializers.Serializer[Any]):
    """The newest messages of a session."""

    session_id = serializers.CharField(help_text="The session's id.")
    messages = CodelabMessageSerializer(many=True, help_text="The newest messages, the oldest of them first.")
    message_count = serializers.IntegerField(help_text="Messages in the whole conversation.")
    last_activity = serializers.CharField(help_text="The moment of the last change.")
    current_agent = serializers.CharField(help_text="The agent, or without one the model.")
    agent_history = CodelabSwitchSerializer(many=True, help_text="The switches so far, the oldest first.")


class CodelabApprovalSerializer(serializers.Serializer[Any]):
    """A call that waits for a decision."""

    request_id = serializers.CharField(help_text="The approval's id, with which it is decided.")
    request_type = serializers.CharField(help_text="Always `tool`.")
    subject = serializers.CharField(help_text="The name of the tool.")
    details = serializers.DictField(help_text="The arguments of the call, as `arguments`.")
    reason = serializers.CharField(
        allow_null=True, help_text="The tool's hint for the person who decides; null without one."
    )
    created_at = serializers.CharField(help_text="The moment from which the call waits.")
    call_id = serializers.CharField(help_text="The id of the call.")
    tool_name = serializers.CharField(help_text="The name of the tool.")
    arguments = serializers.JSONField(help_text="The arguments of the call.")


class CodelabApprovalListSerializer(serializers.Serializer[Any]):
    """The calls of a session that wait for a decision."""

    session_id = serializers.CharField(help_text="The session's id.")
    pending_approvals = CodelabApprovalSerializer(many=True, help_text="The calls that wait.")
    count = serializers.IntegerField(help_text="The number of calls that wait.")


class CodelabMetricsSerializer(serializers.Serializer[Any]):
    """Counts of the tenant's newest sessions."""

    metrics = serializers.DictField(
        help_text="Counts of runs by agent, of calls and decisions by tool, and of errors by agent."
    )
    computed = serializers.DictField(
        child=serializers.FloatField(),
        help_text="Average durations of runs in milliseconds, and the share of calls that succeeded.",
    )
    sessions = serializers.IntegerField(help_text="The number of sessions that were counted.")
    timestamp = serializers.CharField(help_text="The moment of the report.")


def paths(resolve: Resolve) -> Mapping[str, Schema]:
    """Returns the paths of the sockets and of the execution of tools."""
    return {
        "/ws/{session_id}": {"get": _socket("codelabSocket")},
        "/api/v1/ws/{session_id}": {"get": _socket("codelabSocketV1")},
        "/tool/execute/{session_id}": {"post": _EXECUTE},
    }


def schemas() -> Mapping[str, Schema]:
    """Returns the component of the protocol's errors."""
    fields: Schema = {
        "detail": _text("A sentence for people."),
        "code": _text("A stable code."),
        "status": _text("`error`, at the path that executes tools."),
    }
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


def _text(description: str) -> Schema:
    return {"type": "string", "description": description}


_DETAIL = _text("A sentence for people.")
_OUTCOME = _text("`ok` or `error`.")
_RESULT = {"description": "The tool's result: any JSON; absent where it failed."}
_ERROR = {"description": "What went wrong, as the tool says; absent where it succeeded."}


def _answer(description: str, **properties: Schema) -> Schema:
    shape = {"type": "object", "properties": properties}
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
    "x-open": True,
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "example": {"call_id": "call-1", "tool_name": "read_file", "arguments": {"path": "README.md"}},
                "schema": {
                    "type": "object",
                    "required": ["call_id", "tool_name"],
                    "properties": {
                        "type": {"const": "tool_call", "description": "The kind of request."},
                        "call_id": {**_text("The runtime's own id of the call."), "minLength": 1},
                        "tool_name": {**_text("The name of the tool."), "minLength": 1},
                        "arguments": {"type": "object", "description": "The arguments of the call."},
                        "timeout_seconds": {
                            "type": "number",
                            "exclusiveMinimum": 0,
                            "maximum": MAX_SECONDS,
                            "description": "The time to wait for the result, in seconds; 30 by default.",
                        },
                    },
                },
            }
        },
    },
    "responses": {
        "200": _answer(
            "The tool's result, or its error.", status=_OUTCOME, detail=_DETAIL, result=_RESULT, error=_ERROR
        ),
        "401": _answer("The key is wrong.", detail=_DETAIL),
        "404": _answer("There is no such session.", status=_OUTCOME, detail=_DETAIL),
        "409": _answer("No client is connected.", status=_OUTCOME, detail=_DETAIL),
        "422": _answer("The body is invalid.", detail=_DETAIL),
        "503": _answer("GATEWAY_INTERNAL_API_KEY is not set.", detail=_DETAIL),
        "504": _answer("The result did not come in time.", status=_OUTCOME, detail=_DETAIL),
    },
}

_FILTERS: Schema = {
    "type": "object",
    "properties": {
        "session_id": {"type": ["string", "null"], "description": "The session; null for the tenant's trail."},
        "event_type": {"type": ["string", "null"], "description": "The type; null for all of them."},
        "limit": {"type": "integer", "description": "How many entries at most."},
    },
    "required": ["session_id", "event_type", "limit"],
}
_ENTRY: Schema = {
    "type": "object",
    "description": "Further fields depend on `event_type` (docs/protocol-codelab.md).",
    "properties": {
        "timestamp": _text("The moment of the entry."),
        "event_type": _text("The kind of entry."),
        "event_id": _text("The entry's id, unique in the tenant."),
        "session_id": {"type": ["string", "null"], "description": "The session; null for other entries."},
    },
    "required": ["timestamp", "event_type", "event_id", "session_id"],
    "additionalProperties": True,
}
_AUDIT_LOG: Schema = {
    "type": "object",
    "properties": {
        "audit_log": {"type": "array", "items": _ENTRY, "description": "The newest entries, the oldest of them first."},
        "count": {"type": "integer", "description": "The number of entries."},
        "filters": {**_FILTERS, "description": "What was asked for."},
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
