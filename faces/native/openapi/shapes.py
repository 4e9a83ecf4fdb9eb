"""Shapes of responses for the OpenAPI document: the values of `sessions_app.wire` and of the services.

They render nothing. A test validates real responses of every operation against them, and fails on fields that they do
not name.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from faces.native.openapi.events import POSITION
from sessions_app.inbox import MOST_COUNTED
from sessions_app.models import RunState, SessionState

RUN_STATUS = [state for state in RunState.values if state != RunState.READY]
"""Clients do not see that a leg is queued: see `wire.RUN_STATUS`."""

ROLES = ["user", "assistant", "system", "tool_result"]


@extend_schema_field({})
class AnyJSON(serializers.JSONField):
    """Any JSON value."""


@extend_schema_field({"type": "object", "additionalProperties": {}})
class JSONObjectValue(serializers.JSONField):
    """Any JSON object, returned unchanged."""


@extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/PendingApproval"}})
class PendingApprovals(serializers.JSONField):
    """The data of `approval_required`."""


@extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/PendingQuestion"}})
class PendingQuestions(serializers.JSONField):
    """The data of `ask_user`."""


@extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/PendingTool"}})
class PendingTools(serializers.JSONField):
    """The data of `tool_call_requested`."""


@extend_schema_field({"oneOf": [{"$ref": "#/components/schemas/PendingApproval"}, {"type": "null"}]})
class WaitingApproval(serializers.JSONField):
    """The data of `approval_required`, or null."""


@extend_schema_field({"oneOf": [{"$ref": "#/components/schemas/PendingQuestion"}, {"type": "null"}]})
class WaitingQuestion(serializers.JSONField):
    """The data of `ask_user`, or null."""


@extend_schema_field(POSITION)
class StreamPosition(serializers.JSONField):
    """The position of an event in its stream."""


def text(**options: Any) -> serializers.CharField:
    """Returns a string field that may be empty."""
    return serializers.CharField(allow_blank=True, **options)


def path_parameter(name: str) -> dict[str, Any]:
    """Returns a parameter of the path."""
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def moment(**options: Any) -> serializers.DateTimeField:
    """Returns a field of ISO 8601 in UTC, with milliseconds."""
    return serializers.DateTimeField(**options)


class SessionSerializer(serializers.Serializer[Any]):
    """A conversation with one agent."""

    sessionId = text()
    state = serializers.ChoiceField(SessionState.values)
    model = text()
    agent = text(allow_null=True)
    title = text(allow_null=True)
    turns = serializers.IntegerField(help_text="Model responses so far.")
    toolCalls = serializers.IntegerField()
    totalTokens = serializers.IntegerField()
    costUsd = serializers.FloatField()
    costKnown = serializers.BooleanField(help_text="False when the price of a model is unknown.")
    uptimeMs = serializers.IntegerField()
    createdAt = moment()
    updatedAt = moment()
    lastEventIndex = StreamPosition(help_text="The position of the stream's newest event.")
    userData = JSONObjectValue()
    groupId = text(allow_null=True)


class SessionPageSerializer(serializers.Serializer[Any]):
    """Newest first."""

    sessions = SessionSerializer(many=True)
    nextCursor = text(allow_null=True, help_text="`cursor` of the next page; null on the last one.")


class TokenUsageSerializer(serializers.Serializer[Any]):
    promptTokens = serializers.IntegerField()
    completionTokens = serializers.IntegerField()
    totalTokens = serializers.IntegerField()
    cachedTokens = serializers.IntegerField()
    reasoningTokens = serializers.IntegerField()


class LastMessageSerializer(serializers.Serializer[Any]):
    role = serializers.ChoiceField(["assistant"])
    content = text()


class RunErrorSerializer(serializers.Serializer[Any]):
    code = text()
    reason = text()


class ProviderWaitingSerializer(serializers.Serializer[Any]):
    """The wait of a run for its provider, until it is asked again."""

    until = moment()
    reason = text()


class RunSerializer(serializers.Serializer[Any]):
    """The work on one prompt, up to its final message."""

    requestId = text()
    status = serializers.ChoiceField(RUN_STATUS)
    attempt = serializers.IntegerField()
    turns = serializers.IntegerField()
    tokenUsage = TokenUsageSerializer()
    costUsd = serializers.FloatField()
    costKnown = serializers.BooleanField(help_text="False when the price of a model is unknown.")
    providerWaiting = ProviderWaitingSerializer(allow_null=True)
    endReason = text(allow_null=True)
    error = RunErrorSerializer(allow_null=True)
    lastMessage = LastMessageSerializer(allow_null=True)
    endUser = text(allow_null=True)
    metadata = JSONObjectValue()
    createdAt = moment()
    startedAt = moment(allow_null=True)
    endedAt = moment(allow_null=True)


class ModelResponseSerializer(serializers.Serializer[Any]):
    """One response of a model."""

    number = serializers.IntegerField()
    model = text()
    kind = text(help_text="`session`; others are estimated, unfinished or summaries.")
    tokenUsage = TokenUsageSerializer()
    costUsd = serializers.FloatField(allow_null=True, help_text="Null when the price of the model is unknown.")
    at = moment()


class ModelResponsesSerializer(serializers.Serializer[Any]):
    """Oldest first."""

    responses = ModelResponseSerializer(many=True)


class RunPageSerializer(serializers.Serializer[Any]):
    """Newest first."""

    runs = RunSerializer(many=True)
    nextCursor = text(allow_null=True)


class MessageCallSerializer(serializers.Serializer[Any]):
    callId = text()
    name = text()
    arguments = AnyJSON(help_text="The object, or the raw text when the model did not send a JSON object.")


class MessageSerializer(serializers.Serializer[Any]):
    """One message of the conversation."""

    id = text()
    role = serializers.ChoiceField(ROLES)
    content = text()
    toolCalls = MessageCallSerializer(many=True, required=False)
    callId = text(required=False)
    createdAt = moment()
    requestId = text(allow_null=True)


class MessagePageSerializer(serializers.Serializer[Any]):
    """Oldest first."""

    messages = MessageSerializer(many=True)
    nextCursor = text(allow_null=True)


class ModelTotalsSerializer(TokenUsageSerializer):
    """The usage of one model."""

    turns = serializers.IntegerField()
    costUsd = serializers.FloatField()
    costKnown = serializers.BooleanField()


class StatsSerializer(serializers.Serializer[Any]):
    sessionId = text()
    turns = serializers.IntegerField()
    totalTokens = serializers.IntegerField()
    costUsd = serializers.FloatField()
    costKnown = serializers.BooleanField()
    promptCount = serializers.IntegerField()
    tokenUsage = TokenUsageSerializer()
    toolCalls = serializers.IntegerField()
    lastEventIndex = StreamPosition()
    eventBufferCount = serializers.IntegerField(help_text="Events that are still stored.")
    byModel = serializers.DictField(child=ModelTotalsSerializer())


class StatusSerializer(serializers.Serializer[Any]):
    """The state of the session and what it waits for."""

    state = serializers.ChoiceField(SessionState.values)
    pendingApprovals = PendingApprovals()
    pendingQuestions = PendingQuestions()
    pendingTools = PendingTools()
    queue = serializers.IntegerField(help_text="Prompts that wait for the present run.")
    lastEventIndex = StreamPosition()
    run = RunSerializer(allow_null=True)


class PromptReceiptSerializer(serializers.Serializer[Any]):
    """The prompt is accepted; its results are in the events."""

    requestId = text()
    sessionId = text()
    queued = serializers.BooleanField()


class PromptOutcomeSerializer(PromptReceiptSerializer):
    """The run ended within `wait` seconds."""

    status = serializers.ChoiceField(RUN_STATUS)
    lastMessage = LastMessageSerializer(allow_null=True)
    tokenUsage = TokenUsageSerializer()
    costUsd = serializers.FloatField()
    costKnown = serializers.BooleanField()
    endReason = text(allow_null=True)
    error = RunErrorSerializer(allow_null=True)


class AbortReceiptSerializer(serializers.Serializer[Any]):
    requestId = text()
    sessionId = text()
    status = serializers.ChoiceField(["aborted"])


class SteerReceiptSerializer(serializers.Serializer[Any]):
    requestId = text()
    sessionId = text()


class SwitchReceiptSerializer(serializers.Serializer[Any]):
    sessionId = text()
    model = text()


class DecisionSerializer(serializers.Serializer[Any]):
    approvalId = text()
    status = serializers.ChoiceField(["approved", "rejected"])
    remembered = serializers.BooleanField(
        required=False,
        help_text="Where `remember` was asked for. False: a rule of the operator demands a decision about each call.",
    )


class RememberedApprovalSerializer(serializers.Serializer[Any]):
    toolName = text()
    by = text(help_text="The key or the person that decided.")


class RememberedApprovalsSerializer(serializers.Serializer[Any]):
    tools = RememberedApprovalSerializer(many=True)


class AnswerReceiptSerializer(serializers.Serializer[Any]):
    ref = text()
    status = serializers.ChoiceField(["answered"])


class ResultReceiptSerializer(serializers.Serializer[Any]):
    callId = text()
    status = serializers.ChoiceField(["accepted"])


class ToolSerializer(serializers.Serializer[Any]):
    """A registered tool, without its secret."""

    name = text()
    description = text()
    parameters = JSONObjectValue(help_text="A JSON Schema object.")
    callbackUrl = text(allow_null=True, help_text="null: the connected client runs the tool.")
    timeoutMs = serializers.IntegerField()
    requiresApproval = serializers.BooleanField()
    hint = text(allow_null=True)
    idempotent = serializers.BooleanField()
    createdAt = moment()


class ToolPageSerializer(serializers.Serializer[Any]):
    tools = ToolSerializer(many=True)


class ToolTestResultSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["ok", "error", "timeout", "unknown", "accepted"])
    result = text()
    durationMs = serializers.IntegerField()

    class Meta:
        ref_name = "ToolTrial"
        """The component's name in the document."""


class StreamTokenSerializer(serializers.Serializer[Any]):
    """A read-only token for one session."""

    token = text()
    expiresAt = moment(help_text="The first connection has to be made before this.")


class UsageRowSerializer(serializers.Serializer[Any]):
    """`day`, `key` and `model` are present when the report is grouped by them."""

    day = serializers.DateField(required=False)
    key = text(required=False, allow_null=True)
    model = text(required=False)
    prompts = serializers.IntegerField()
    turns = serializers.IntegerField()
    promptTokens = serializers.IntegerField()
    completionTokens = serializers.IntegerField()
    cachedTokens = serializers.IntegerField()
    reasoningTokens = serializers.IntegerField()
    costUsd = serializers.FloatField()
    costKnown = serializers.BooleanField()
    estimatedTurns = serializers.IntegerField(help_text="Those of `turns` whose tokens no provider reported.")


class UsageSerializer(serializers.Serializer[Any]):
    """Newest day first."""

    usage = UsageRowSerializer(many=True)


class WaitSerializer(serializers.Serializer[Any]):
    """An approval or a question that waits for a person, with its session."""

    kind = serializers.ChoiceField(["approval", "question"])
    sessionId = text()
    title = text(allow_null=True)
    agent = text(allow_null=True)
    model = text()
    requestId = text()
    since = moment()
    expiresAt = moment(allow_null=True)
    approval = WaitingApproval()
    question = WaitingQuestion()


class InboxPageSerializer(serializers.Serializer[Any]):
    """Waits in the order in which they expire."""

    waits = WaitSerializer(many=True)
    total = serializers.IntegerField(help_text=f"All open waits; {MOST_COUNTED} stands for as many or more.")
    nextCursor = text(allow_null=True, help_text="`cursor` of the next page; null on the last one.")
