"""What the OpenAPI document says of every operation that a view of this room answers.

A table beside the views: they stay as short as they are, and a test compares the table with the URLs. What follows
from the view itself (scope, Idempotency-Key, the errors that every operation may answer) is not repeated here.
"""

from __future__ import annotations

from collections.abc import Mapping

from drf_spectacular.utils import OpenApiParameter

from edge_app.rest.paging import MAX_LIMIT
from edge_app.rest.viewsets import GatewayViewSet
from faces.native import serializers as given
from faces.native.openapi import shapes
from faces.native.openapi.operation import Operation, parameter
from faces.native.openapi.registration import ToolRegistrationSerializer
from faces.native.openapi.webhooks import WEBHOOK_OPERATIONS, WEBHOOKS
from faces.native.prompt_wait import MAX_WAIT_SECONDS
from faces.native.views.callbacks import CallbackResultViewSet
from faces.native.views.runs import RunViewSet
from faces.native.views.sessions import SessionViewSet
from faces.native.views.tools import ToolViewSet
from faces.native.views.usage import UsageViewSet
from sessions_app.models import SessionState
from tenants_app.selectors.ledger import GROUPS

SESSIONS, RUNS, WAITS, TOOLS, STREAMS, USAGE = "Sessions", "Runs", "Decisions", "Tools", "Events", "Usage"
TAGS = (SESSIONS, RUNS, WAITS, TOOLS, STREAMS, USAGE, WEBHOOKS)

CALLBACK_BODY = {
    "oneOf": [
        {"type": "object", "properties": {"result": {}}, "required": ["result"]},
        {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]},
    ]
}


def pages(default: int) -> tuple[OpenApiParameter, ...]:
    """`limit` and `cursor`."""
    limit = {"type": "integer", "minimum": 0, "default": default}
    cursor = {"type": "string", "pattern": "^[0-9]{0,18}$"}
    return (
        parameter("limit", limit, f"At most {MAX_LIMIT}; more is taken for {MAX_LIMIT}."),
        parameter("cursor", cursor, "`nextCursor` of the page before."),
    )


_FILTERS = (
    parameter("state", {"type": "string", "enum": SessionState.values}, "Sessions in this state."),
    parameter("agent", {"type": "string"}, "Sessions of this agent."),
    parameter("groupId", {"type": "string"}, "Sessions of this group."),
    parameter("since", {"type": "string", "format": "date-time"}, "Sessions created at or after this moment."),
)
_SPAN = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}
_WAIT = {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS}

OPERATIONS: Mapping[tuple[type[GatewayViewSet], str], Operation] = {
    (SessionViewSet, "list"): Operation(
        id="listSessions",
        tag=SESSIONS,
        summary="List sessions, the newest first",
        query=(*pages(50), *_FILTERS),
        answers={200: shapes.SessionPageSerializer},
    ),
    (SessionViewSet, "create"): Operation(
        id="createSession",
        tag=SESSIONS,
        summary="Create a session",
        request=given.SessionCreateSerializer,
        answers={201: shapes.SessionSerializer},
        errors=(409, 422),
        located=True,
    ),
    (SessionViewSet, "retrieve"): Operation(
        id="getSession", tag=SESSIONS, summary="Get a session", answers={200: shapes.SessionSerializer}
    ),
    (SessionViewSet, "partial_update"): Operation(
        id="changeSession",
        tag=SESSIONS,
        summary="Change a session",
        request=given.SessionPatchSerializer,
        answers={200: shapes.SessionSerializer},
        errors=(409, 422),
    ),
    (SessionViewSet, "destroy"): Operation(
        id="closeSession",
        tag=SESSIONS,
        summary="Close a session; reading goes on",
        query=(parameter("purge", {"type": "string"}, "`true` erases it (scope `admin`); its data are kept without."),),
        answers={204: None},
    ),
    (SessionViewSet, "fork"): Operation(
        id="forkSession",
        tag=SESSIONS,
        summary="Make a new session with the history up to a message",
        request=given.ForkSerializer,
        answers={201: shapes.SessionSerializer},
        errors=(409, 422),
        located=True,
    ),
    (SessionViewSet, "messages"): Operation(
        id="listMessages",
        tag=SESSIONS,
        summary="Read the conversation, the oldest message first",
        query=pages(200),
        answers={200: shapes.MessagePageSerializer},
    ),
    (SessionViewSet, "stats"): Operation(
        id="getStats", tag=SESSIONS, summary="Get a session's statistics", answers={200: shapes.StatsSerializer}
    ),
    (SessionViewSet, "status"): Operation(
        id="getStatus",
        tag=SESSIONS,
        summary="Get what a session does and waits for",
        answers={200: shapes.StatusSerializer},
    ),
    (SessionViewSet, "prompt"): Operation(
        id="prompt",
        tag=RUNS,
        summary="Send a prompt",
        request=given.PromptSerializer,
        query=(parameter("wait", _WAIT, "Seconds to wait for the run's end: 200 when it came, else 202."),),
        answers={200: shapes.PromptOutcomeSerializer, 202: shapes.PromptReceiptSerializer},
        errors=(409, 422),
    ),
    (SessionViewSet, "abort"): Operation(
        id="abort",
        tag=RUNS,
        summary="Abort the run that is under way",
        request=given.AbortSerializer,
        answers={202: shapes.AbortReceiptSerializer},
        errors=(409,),
    ),
    (SessionViewSet, "steer"): Operation(
        id="steer",
        tag=RUNS,
        summary="Give the run a text before its next model call",
        request=given.SteerSerializer,
        answers={202: shapes.SteerReceiptSerializer},
        errors=(409, 422),
    ),
    (SessionViewSet, "switch_model"): Operation(
        id="switchModel",
        tag=RUNS,
        summary="Use another model from the next leg on",
        request=given.SwitchModelSerializer,
        answers={202: shapes.SwitchReceiptSerializer},
        errors=(409, 422),
    ),
    (RunViewSet, "list"): Operation(
        id="listRuns",
        tag=RUNS,
        summary="List the session's runs, the newest first",
        query=pages(50),
        answers={200: shapes.RunPageSerializer},
    ),
    (RunViewSet, "retrieve"): Operation(
        id="getRun", tag=RUNS, summary="Get a run", answers={200: shapes.RunSerializer}
    ),
    (RunViewSet, "abort"): Operation(
        id="abortRun",
        tag=RUNS,
        summary="Abort the run that is under way",
        request=given.AbortSerializer,
        answers={202: shapes.AbortReceiptSerializer},
        errors=(409,),
    ),
    (SessionViewSet, "approve"): Operation(
        id="approve",
        tag=WAITS,
        summary="Approve a tool call",
        request=given.ApproveSerializer,
        answers={200: shapes.DecisionSerializer},
        errors=(409, 410),
    ),
    (SessionViewSet, "reject"): Operation(
        id="reject",
        tag=WAITS,
        summary="Reject a tool call",
        request=given.RejectSerializer,
        answers={200: shapes.DecisionSerializer},
        errors=(409, 410),
    ),
    (SessionViewSet, "respond"): Operation(
        id="respond",
        tag=WAITS,
        summary="Answer a question",
        request=given.RespondSerializer,
        answers={200: shapes.AnswerReceiptSerializer},
        errors=(409, 410),
    ),
    (SessionViewSet, "tool_results"): Operation(
        id="submitToolResult",
        tag=WAITS,
        summary="Give the result of a tool that the client ran",
        request=given.ToolResultSerializer,
        answers={200: shapes.ResultReceiptSerializer},
        errors=(409, 410),
    ),
    (CallbackResultViewSet, "create"): Operation(
        id="submitCallbackResult",
        tag=WAITS,
        summary="Give the late result of a callback, at the resultUrl it was given",
        request=CALLBACK_BODY,
        answers={200: shapes.ResultReceiptSerializer},
        errors=(409, 410),
    ),
    (ToolViewSet, "list"): Operation(
        id="listTools", tag=TOOLS, summary="List the session's tools", answers={200: shapes.ToolPageSerializer}
    ),
    (ToolViewSet, "create"): Operation(
        id="registerTool",
        tag=TOOLS,
        summary="Register a tool, or replace the one of its name",
        request=ToolRegistrationSerializer,
        answers={201: shapes.ToolSerializer},
        errors=(409,),
    ),
    (ToolViewSet, "destroy"): Operation(
        id="removeTool", tag=TOOLS, summary="Remove a tool", answers={204: None}, errors=(409,)
    ),
    (SessionViewSet, "stream_token"): Operation(
        id="createStreamToken",
        tag=STREAMS,
        summary="Make a token with which a browser reads the session's events",
        answers={200: shapes.StreamTokenSerializer},
    ),
    (UsageViewSet, "list"): Operation(
        id="getUsage",
        tag=USAGE,
        summary="Report what the tenant used",
        query=(
            parameter("from", _SPAN, "The first day (UTC) or moment."),
            parameter("to", _SPAN, "The last day, included, or the moment before which it ends."),
            parameter("groupBy", {"type": "string"}, f"A comma list of {', '.join(GROUPS)}; all by default."),
            parameter("endUser", {"type": "string"}, "Only what was spent for this user of the client."),
        ),
        answers={200: shapes.UsageSerializer},
    ),
    **WEBHOOK_OPERATIONS,
}
"""By viewset and action."""
