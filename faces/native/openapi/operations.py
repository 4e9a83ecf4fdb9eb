"""What the OpenAPI document says of every operation that a view of this room answers.

A table beside the views: they stay as short as they are, and a test compares the table with the URLs. What follows
from the view itself (scope, Idempotency-Key, the errors that every operation may answer) is not repeated here.
"""

from __future__ import annotations

from collections.abc import Mapping

from drf_spectacular.utils import OpenApiParameter
from rest_framework.views import APIView

from edge_app.rest.paging import MAX_LIMIT
from faces.native import serializers as given
from faces.native.openapi import shapes
from faces.native.openapi.operation import Operation, parameter
from faces.native.openapi.registration import ToolRegistrationSerializer
from faces.native.openapi.webhooks import WEBHOOK_OPERATIONS, WEBHOOKS
from faces.native.prompt_wait import MAX_WAIT_SECONDS
from faces.native.views import decisions, prompts, sessions, stream_token, tools, usage
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

OPERATIONS: Mapping[tuple[type[APIView], str], Operation] = {
    (sessions.SessionList, "GET"): Operation(
        id="listSessions",
        tag=SESSIONS,
        summary="List sessions, the newest first",
        query=(*pages(50), *_FILTERS),
        answers={200: shapes.SessionPageSerializer},
    ),
    (sessions.SessionList, "POST"): Operation(
        id="createSession",
        tag=SESSIONS,
        summary="Create a session",
        request=given.SessionCreateSerializer,
        answers={201: shapes.SessionSerializer},
        errors=(409, 422),
        located=True,
    ),
    (sessions.SessionDetail, "GET"): Operation(
        id="getSession", tag=SESSIONS, summary="Get a session", answers={200: shapes.SessionSerializer}
    ),
    (sessions.SessionDetail, "PATCH"): Operation(
        id="changeSession",
        tag=SESSIONS,
        summary="Change a session",
        request=given.SessionPatchSerializer,
        answers={200: shapes.SessionSerializer},
        errors=(409, 422),
    ),
    (sessions.SessionDetail, "DELETE"): Operation(
        id="closeSession",
        tag=SESSIONS,
        summary="Close a session; reading goes on",
        query=(parameter("purge", {"type": "string"}, "`true` erases it (scope `admin`); its data are kept without."),),
        answers={204: None},
    ),
    (sessions.SessionFork, "POST"): Operation(
        id="forkSession",
        tag=SESSIONS,
        summary="Make a new session with the history up to a message",
        request=given.ForkSerializer,
        answers={201: shapes.SessionSerializer},
        errors=(409, 422),
        located=True,
    ),
    (sessions.SessionMessages, "GET"): Operation(
        id="listMessages",
        tag=SESSIONS,
        summary="Read the conversation, the oldest message first",
        query=pages(200),
        answers={200: shapes.MessagePageSerializer},
    ),
    (sessions.SessionStats, "GET"): Operation(
        id="getStats", tag=SESSIONS, summary="Get a session's statistics", answers={200: shapes.StatsSerializer}
    ),
    (sessions.SessionStatus, "GET"): Operation(
        id="getStatus",
        tag=SESSIONS,
        summary="Get what a session does and waits for",
        answers={200: shapes.StatusSerializer},
    ),
    (prompts.PromptView, "POST"): Operation(
        id="prompt",
        tag=RUNS,
        summary="Send a prompt",
        request=given.PromptSerializer,
        query=(parameter("wait", _WAIT, "Seconds to wait for the run's end: 200 when it came, else 202."),),
        answers={200: shapes.PromptOutcomeSerializer, 202: shapes.PromptReceiptSerializer},
        errors=(409, 422),
    ),
    (prompts.AbortView, "POST"): Operation(
        id="abort",
        tag=RUNS,
        summary="Abort the run that is under way",
        request=given.AbortSerializer,
        answers={202: shapes.AbortReceiptSerializer},
        errors=(409,),
    ),
    (prompts.SteerView, "POST"): Operation(
        id="steer",
        tag=RUNS,
        summary="Give the run a text before its next model call",
        request=given.SteerSerializer,
        answers={202: shapes.SteerReceiptSerializer},
        errors=(409, 422),
    ),
    (prompts.SwitchModelView, "POST"): Operation(
        id="switchModel",
        tag=RUNS,
        summary="Use another model from the next leg on",
        request=given.SwitchModelSerializer,
        answers={202: shapes.SwitchReceiptSerializer},
        errors=(409, 422),
    ),
    (sessions.RunList, "GET"): Operation(
        id="listRuns",
        tag=RUNS,
        summary="List the session's runs, the newest first",
        query=pages(50),
        answers={200: shapes.RunPageSerializer},
    ),
    (sessions.RunDetail, "GET"): Operation(
        id="getRun", tag=RUNS, summary="Get a run", answers={200: shapes.RunSerializer}
    ),
    (decisions.ApproveView, "POST"): Operation(
        id="approve",
        tag=WAITS,
        summary="Approve a tool call",
        request=given.ApproveSerializer,
        answers={200: shapes.DecisionSerializer},
        errors=(409, 410),
    ),
    (decisions.RejectView, "POST"): Operation(
        id="reject",
        tag=WAITS,
        summary="Reject a tool call",
        request=given.RejectSerializer,
        answers={200: shapes.DecisionSerializer},
        errors=(409, 410),
    ),
    (decisions.RespondView, "POST"): Operation(
        id="respond",
        tag=WAITS,
        summary="Answer a question",
        request=given.RespondSerializer,
        answers={200: shapes.AnswerReceiptSerializer},
        errors=(409, 410),
    ),
    (decisions.ToolResultView, "POST"): Operation(
        id="submitToolResult",
        tag=WAITS,
        summary="Give the result of a tool that the client ran",
        request=given.ToolResultSerializer,
        answers={200: shapes.ResultReceiptSerializer},
        errors=(409, 410),
    ),
    (tools.CallbackResultView, "POST"): Operation(
        id="submitCallbackResult",
        tag=WAITS,
        summary="Give the late result of a callback, at the resultUrl it was given",
        request=CALLBACK_BODY,
        answers={200: shapes.ResultReceiptSerializer},
        errors=(409, 410),
    ),
    (tools.ToolList, "GET"): Operation(
        id="listTools", tag=TOOLS, summary="List the session's tools", answers={200: shapes.ToolPageSerializer}
    ),
    (tools.ToolList, "POST"): Operation(
        id="registerTool",
        tag=TOOLS,
        summary="Register a tool, or replace the one of its name",
        request=ToolRegistrationSerializer,
        answers={201: shapes.ToolSerializer},
        errors=(409,),
    ),
    (tools.ToolDetail, "DELETE"): Operation(
        id="removeTool", tag=TOOLS, summary="Remove a tool", answers={204: None}, errors=(409,)
    ),
    (stream_token.StreamTokenView, "POST"): Operation(
        id="createStreamToken",
        tag=STREAMS,
        summary="Make a token with which a browser reads the session's events",
        answers={200: shapes.StreamTokenSerializer},
    ),
    (usage.UsageView, "GET"): Operation(
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
"""By view and method. `abort` is reached under two paths: the session's and the run's."""
