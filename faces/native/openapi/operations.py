"""Operations of the native viewsets in the OpenAPI document, by viewset and action.

A table of its own keeps the viewsets short; a test compares it with the URLs. It leaves out what follows from the
viewset (scope, Idempotency-Key) and the errors that all operations share.
"""

from __future__ import annotations

from collections.abc import Mapping

from drf_spectacular.utils import OpenApiParameter
from rest_framework.views import APIView

from edge_app.openapi import Operation, parameter
from edge_app.rest.paging import MAX_LIMIT
from faces.native import serializers
from faces.native.openapi import shapes
from faces.native.openapi.embed import EMBED, EMBED_OPERATIONS
from faces.native.openapi.keys import KEY_OPERATIONS, KEYS
from faces.native.openapi.mcp_servers import MCP_OPERATIONS, MCP_SERVERS
from faces.native.openapi.registration import ToolRegistrationSerializer
from faces.native.openapi.webhooks import WEBHOOK_OPERATIONS, WEBHOOKS
from faces.native.prompt_wait import MAX_WAIT_SECONDS
from faces.native.views.callbacks import CallbackResultViewSet
from faces.native.views.decisions import RememberedApprovalViewSet
from faces.native.views.inbox import InboxViewSet
from faces.native.views.runs import RunViewSet
from faces.native.views.sessions import SessionViewSet
from faces.native.views.tools import ToolViewSet
from faces.native.views.usage import UsageViewSet
from sessions_app.models import SessionState
from sessions_app.session_filter import MAX_CHARACTERS, SEARCHED
from tenants_app.selectors.ledger import GROUPS

SESSIONS, RUNS, DECISIONS, TOOLS, STREAMS, USAGE = "Sessions", "Runs", "Decisions", "Tools", "Events", "Usage"
TAGS = (SESSIONS, RUNS, DECISIONS, TOOLS, STREAMS, USAGE, KEYS, EMBED, WEBHOOKS, MCP_SERVERS)

CALLBACK_BODY = {
    "oneOf": [
        {"type": "object", "properties": {"result": {}}, "required": ["result"]},
        {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]},
    ]
}


def page_parameters(default: int) -> tuple[OpenApiParameter, ...]:
    """Returns the parameters `limit` and `cursor`."""
    limit = {"type": "integer", "minimum": 0, "default": default}
    cursor = {"type": "string", "pattern": "^[0-9]{0,18}$"}
    return (
        parameter("limit", limit, f"At most {MAX_LIMIT}; larger values count as {MAX_LIMIT}."),
        parameter("cursor", cursor, "`nextCursor` of the previous page."),
    )


_FILTERS = (
    parameter("state", {"type": "string", "enum": SessionState.values}, "Sessions in this state."),
    parameter("agent", {"type": "string"}, "Sessions of this agent."),
    parameter("groupId", {"type": "string"}, "Sessions of this group."),
    parameter("model", {"type": "string"}, "Sessions with this model."),
    parameter("endUser", {"type": "string"}, "Sessions with a run of this end user."),
    parameter("since", {"type": "string", "format": "date-time"}, "Sessions created at or after this moment."),
    parameter("until", {"type": "string", "format": "date-time"}, "Sessions created before this moment."),
    parameter(
        "search",
        {"type": "string", "maxLength": MAX_CHARACTERS},
        f"A session id or `requestId`, or a part of a title or a session id among the {SEARCHED} newest sessions.",
    ),
)
_SPAN = {"type": "string", "anyOf": [{"format": "date"}, {"format": "date-time"}]}
_WAIT = {"type": "number", "minimum": 0, "maximum": MAX_WAIT_SECONDS}

OPERATIONS: Mapping[tuple[type[APIView], str], Operation] = {
    (SessionViewSet, "list"): Operation(
        id="listSessions",
        tag=SESSIONS,
        summary="List sessions, the newest first",
        query=(*page_parameters(50), *_FILTERS),
        responses={200: shapes.SessionPageSerializer},
    ),
    (SessionViewSet, "create"): Operation(
        id="createSession",
        tag=SESSIONS,
        summary="Create a session",
        request=serializers.SessionCreateSerializer,
        responses={201: shapes.SessionSerializer},
        errors=(409, 422),
        located=True,
    ),
    (SessionViewSet, "retrieve"): Operation(
        id="getSession", tag=SESSIONS, summary="Get a session", responses={200: shapes.SessionSerializer}
    ),
    (SessionViewSet, "partial_update"): Operation(
        id="changeSession",
        tag=SESSIONS,
        summary="Change a session",
        request=serializers.SessionPatchSerializer,
        responses={200: shapes.SessionSerializer},
        errors=(409, 422),
    ),
    (SessionViewSet, "destroy"): Operation(
        id="closeSession",
        tag=SESSIONS,
        summary="Close a session; it stays readable",
        query=(parameter("purge", {"type": "string"}, "`true` erases the session (scope `admin`)."),),
        responses={204: None},
    ),
    (SessionViewSet, "fork"): Operation(
        id="forkSession",
        tag=SESSIONS,
        summary="Create a session with the history up to a message",
        request=serializers.ForkSerializer,
        responses={201: shapes.SessionSerializer},
        errors=(409, 422),
        located=True,
    ),
    (SessionViewSet, "messages"): Operation(
        id="listMessages",
        tag=SESSIONS,
        summary="Read the conversation, the oldest message first",
        query=page_parameters(200),
        responses={200: shapes.MessagePageSerializer},
    ),
    (SessionViewSet, "stats"): Operation(
        id="getStats", tag=SESSIONS, summary="Get a session's statistics", responses={200: shapes.StatsSerializer}
    ),
    (SessionViewSet, "status"): Operation(
        id="getStatus",
        tag=SESSIONS,
        summary="Get the state of a session and what it waits for",
        responses={200: shapes.StatusSerializer},
    ),
    (SessionViewSet, "prompt"): Operation(
        id="prompt",
        tag=RUNS,
        summary="Send a prompt",
        request=serializers.PromptSerializer,
        query=(parameter("wait", _WAIT, "Seconds to wait for the end of the run: 200 when it ended, else 202."),),
        responses={200: shapes.PromptOutcomeSerializer, 202: shapes.PromptReceiptSerializer},
        errors=(409, 422),
    ),
    (SessionViewSet, "abort"): Operation(
        id="abort",
        tag=RUNS,
        summary="Abort the run in progress",
        request=serializers.AbortSerializer,
        responses={202: shapes.AbortReceiptSerializer},
        errors=(409,),
    ),
    (SessionViewSet, "steer"): Operation(
        id="steer",
        tag=RUNS,
        summary="Add a text to the run before its next model call",
        request=serializers.SteerSerializer,
        responses={202: shapes.SteerReceiptSerializer},
        errors=(409, 422),
    ),
    (SessionViewSet, "switch_model"): Operation(
        id="switchModel",
        tag=RUNS,
        summary="Use another model from the next leg on",
        request=serializers.SwitchModelSerializer,
        responses={202: shapes.SwitchReceiptSerializer},
        errors=(409, 422),
    ),
    (RunViewSet, "list"): Operation(
        id="listRuns",
        tag=RUNS,
        summary="List the session's runs, the newest first",
        query=page_parameters(50),
        responses={200: shapes.RunPageSerializer},
    ),
    (RunViewSet, "retrieve"): Operation(
        id="getRun", tag=RUNS, summary="Get a run", responses={200: shapes.RunSerializer}
    ),
    (RunViewSet, "responses"): Operation(
        id="listResponses",
        tag=RUNS,
        summary="List the model responses of a run with what they cost",
        responses={200: shapes.ModelResponsesSerializer},
    ),
    (RunViewSet, "abort"): Operation(
        id="abortRun",
        tag=RUNS,
        summary="Abort the run in progress",
        request=serializers.AbortSerializer,
        responses={202: shapes.AbortReceiptSerializer},
        errors=(409,),
    ),
    (SessionViewSet, "approve"): Operation(
        id="approve",
        tag=DECISIONS,
        summary="Approve a tool call",
        request=serializers.ApproveSerializer,
        responses={200: shapes.DecisionSerializer},
        errors=(409, 410),
    ),
    (SessionViewSet, "reject"): Operation(
        id="reject",
        tag=DECISIONS,
        summary="Reject a tool call",
        request=serializers.RejectSerializer,
        responses={200: shapes.DecisionSerializer},
        errors=(409, 410),
    ),
    (SessionViewSet, "respond"): Operation(
        id="respond",
        tag=DECISIONS,
        summary="Answer a question",
        request=serializers.RespondSerializer,
        responses={200: shapes.AnswerReceiptSerializer},
        errors=(409, 410),
    ),
    (SessionViewSet, "tool_results"): Operation(
        id="submitToolResult",
        tag=DECISIONS,
        summary="Submit the result of a tool that the client ran",
        request=serializers.ToolResultSerializer,
        responses={200: shapes.ResultReceiptSerializer},
        errors=(409, 410),
    ),
    (CallbackResultViewSet, "create"): Operation(
        id="submitCallbackResult",
        tag=DECISIONS,
        summary="Submit the late result of a callback, at its resultUrl",
        request=CALLBACK_BODY,
        responses={200: shapes.ResultReceiptSerializer},
        errors=(409, 410),
    ),
    (RememberedApprovalViewSet, "list"): Operation(
        id="listRememberedApprovals",
        tag=DECISIONS,
        summary="List the tools whose calls need no approval any more",
        responses={200: shapes.RememberedApprovalsSerializer},
    ),
    (RememberedApprovalViewSet, "destroy"): Operation(
        id="forgetRememberedApproval",
        tag=DECISIONS,
        summary="Let the calls of a tool ask for approval again",
        responses={204: None},
        errors=(409,),
    ),
    (ToolViewSet, "list"): Operation(
        id="listTools", tag=TOOLS, summary="List the session's tools", responses={200: shapes.ToolPageSerializer}
    ),
    (ToolViewSet, "create"): Operation(
        id="registerTool",
        tag=TOOLS,
        summary="Register a tool, or replace the one of its name",
        request=ToolRegistrationSerializer,
        responses={201: shapes.ToolSerializer},
        errors=(409,),
    ),
    (ToolViewSet, "destroy"): Operation(
        id="removeTool", tag=TOOLS, summary="Remove a tool", responses={204: None}, errors=(409,)
    ),
    (SessionViewSet, "stream_token"): Operation(
        id="createStreamToken",
        tag=STREAMS,
        summary="Create a token with which a browser reads the session's events",
        responses={200: shapes.StreamTokenSerializer},
    ),
    (InboxViewSet, "list"): Operation(
        id="listInbox",
        tag=DECISIONS,
        summary="List what waits for a person across the tenant, what expires first at the top",
        query=(page_parameters(50)[0], parameter("cursor", {"type": "string"}, "`nextCursor` of the previous page.")),
        responses={200: shapes.InboxPageSerializer},
    ),
    (UsageViewSet, "list"): Operation(
        id="getUsage",
        tag=USAGE,
        summary="Report the tenant's usage",
        query=(
            parameter("from", _SPAN, "The first day (UTC) or moment."),
            parameter("to", _SPAN, "The last day, included, or the moment before which it ends."),
            parameter("groupBy", {"type": "string"}, f"A comma list of {', '.join(GROUPS)}; all by default."),
            parameter("endUser", {"type": "string"}, "Only the usage of this end user."),
        ),
        responses={200: shapes.UsageSerializer},
    ),
    **KEY_OPERATIONS,
    **EMBED_OPERATIONS,
    **WEBHOOK_OPERATIONS,
    **MCP_OPERATIONS,
}
"""By viewset and action."""
