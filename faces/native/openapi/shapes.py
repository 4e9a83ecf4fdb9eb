"""The shapes of answers, for the OpenAPI document: what `sessions_app.wire` and the services' wire values look like.

Nothing is rendered by these: a test holds real answers of every operation against them, fields that they do not
name included.
"""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from sessions_app.models import RunState, SessionState

RUN_STATUS = [state for state in RunState.values if state != RunState.READY]
"""That a leg is queued is not shown: see `wire.RUN_STATUS`."""

ROLES = ["user", "assistant", "system", "tool_result"]


@extend_schema_field({})
class AnyJSON(serializers.JSONField):
    """Any JSON value."""


@extend_schema_field({"type": "object", "additionalProperties": {}})
class Object(serializers.JSONField):
    """Any JSON object, given back as it came."""


@extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/PendingApproval"}})
class PendingApprovals(serializers.JSONField):
    """The data of `approval_required`."""


@extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/PendingQuestion"}})
class PendingQuestions(serializers.JSONField):
    """The data of `ask_user`."""


@extend_schema_field({"type": "array", "items": {"$ref": "#/components/schemas/PendingTool"}})
class PendingTools(serializers.JSONField):
    """The data of `tool_call_requested`."""


def text(**given: Any) -> serializers.CharField:
    """A string that may be empty."""
    return serializers.CharField(allow_blank=True, **given)


def moment(**given: Any) -> serializers.DateTimeField:
    """ISO 8601 in UTC, with milliseconds."""
    return serializers.DateTimeField(**given)


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
    uptimeMs = serializers.IntegerField()
    createdAt = moment()
    updatedAt = moment()
    lastEventIndex = serializers.IntegerField(help_text="The newest offset of the session's stream.")
    userData = Object()
    groupId = text(allow_null=True)


class SessionPageSerializer(serializers.Serializer[Any]):
    """The newest first."""

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


class RunSerializer(serializers.Serializer[Any]):
    """What one prompt set off."""

    requestId = text()
    status = serializers.ChoiceField(RUN_STATUS)
    attempt = serializers.IntegerField()
    turns = serializers.IntegerField()
    tokenUsage = TokenUsageSerializer()
    costUsd = serializers.FloatField()
    costKnown = serializers.BooleanField(help_text="False when the price of a model is unknown.")
    endReason = text(allow_null=True)
    error = RunErrorSerializer(allow_null=True)
    lastMessage = LastMessageSerializer(allow_null=True)
    endUser = text(allow_null=True)
    metadata = Object()
    createdAt = moment()
    startedAt = moment(allow_null=True)
    endedAt = moment(allow_null=True)


class RunPageSerializer(serializers.Serializer[Any]):
    """The newest first."""

    runs = RunSerializer(many=True)
    nextCursor = text(allow_null=True)


class MessageCallSerializer(serializers.Serializer[Any]):
    callId = text()
    name = text()
    arguments = AnyJSON(help_text="The object, or the raw text when the model's was no JSON object.")


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
    """The oldest first."""

    messages = MessageSerializer(many=True)
    nextCursor = text(allow_null=True)


class ModelTotalsSerializer(TokenUsageSerializer):
    """What one model was used for."""

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
    lastEventIndex = serializers.IntegerField()
    eventBufferCount = serializers.IntegerField(help_text="Events that are still kept.")
    byModel = serializers.DictField(child=ModelTotalsSerializer())


class StatusSerializer(serializers.Serializer[Any]):
    """What the session does and waits for."""

    state = serializers.ChoiceField(SessionState.values)
    pendingApprovals = PendingApprovals()
    pendingQuestions = PendingQuestions()
    pendingTools = PendingTools()
    queue = serializers.IntegerField(help_text="Prompts that wait behind the present run.")
    lastEventIndex = serializers.IntegerField()
    run = RunSerializer(allow_null=True)


class PromptReceiptSerializer(serializers.Serializer[Any]):
    """The prompt is committed; what comes of it is in the events."""

    requestId = text()
    sessionId = text()
    queued = serializers.BooleanField()


class PromptOutcomeSerializer(PromptReceiptSerializer):
    """The run ended within `wait`."""

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


class AnswerReceiptSerializer(serializers.Serializer[Any]):
    ref = text()
    status = serializers.ChoiceField(["answered"])


class ResultReceiptSerializer(serializers.Serializer[Any]):
    callId = text()
    status = serializers.ChoiceField(["accepted"])


class ToolSerializer(serializers.Serializer[Any]):
    """A registered tool; its secret is never shown."""

    name = text()
    description = text()
    parameters = Object(help_text="A JSON Schema object.")
    callbackUrl = text(allow_null=True, help_text="null: the connected client runs the tool.")
    timeoutMs = serializers.IntegerField()
    requiresApproval = serializers.BooleanField()
    hint = text(allow_null=True)
    idempotent = serializers.BooleanField()
    createdAt = moment()


class ToolPageSerializer(serializers.Serializer[Any]):
    tools = ToolSerializer(many=True)


class ToolTestResultSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(["ok", "error", "timeout", "accepted"])
    result = text()
    durationMs = serializers.IntegerField()

    class Meta:
        ref_name = "ToolTrial"
        """The component's name in the document."""


class StreamTokenSerializer(serializers.Serializer[Any]):
    """A token for one session, read only."""

    token = text()
    expiresAt = moment(help_text="Until then the first connection has to be made.")


class UsageRowSerializer(serializers.Serializer[Any]):
    """`day`, `key` and `model` are there when they were grouped by."""

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


class UsageSerializer(serializers.Serializer[Any]):
    """The newest day first."""

    usage = UsageRowSerializer(many=True)
