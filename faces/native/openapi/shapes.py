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

    sessionId = text(help_text="The session's id.")
    state = serializers.ChoiceField(SessionState.values, help_text="What the session does or waits for.")
    model = text(help_text="The model that the next run uses.")
    agent = text(allow_null=True, help_text="The configured agent; null for a session that names a model alone.")
    title = text(allow_null=True, help_text="The title; null without one.")
    turns = serializers.IntegerField(help_text="Model responses so far.")
    toolCalls = serializers.IntegerField(help_text="Tool calls so far.")
    totalTokens = serializers.IntegerField(help_text="Tokens of all model requests and responses so far.")
    costUsd = serializers.FloatField(help_text="The cost so far in US dollars, as far as prices are known.")
    costKnown = serializers.BooleanField(help_text="False when the price of a model is unknown.")
    uptimeMs = serializers.IntegerField(help_text="Milliseconds since the session was created.")
    createdAt = moment(help_text="The moment of creation.")
    updatedAt = moment(help_text="The moment of the last change.")
    lastEventIndex = StreamPosition(help_text="The position of the stream's newest event.")
    userData = JSONObjectValue(help_text="The client's own data, as it was sent.")
    groupId = text(allow_null=True, help_text="The group of the session; null without one.")


class SessionPageSerializer(serializers.Serializer[Any]):
    """Newest first."""

    sessions = SessionSerializer(many=True, help_text="The sessions of this page.")
    nextCursor = text(allow_null=True, help_text="`cursor` of the next page; null on the last one.")


class TokenUsageSerializer(serializers.Serializer[Any]):
    promptTokens = serializers.IntegerField(help_text="Tokens of the requests.")
    completionTokens = serializers.IntegerField(help_text="Tokens of the responses, reasoning included.")
    totalTokens = serializers.IntegerField(help_text="Tokens of requests and responses.")
    cachedTokens = serializers.IntegerField(help_text="Those of `promptTokens` that the provider read from its cache.")
    reasoningTokens = serializers.IntegerField(help_text="Those of `completionTokens` that are reasoning.")


class LastMessageSerializer(serializers.Serializer[Any]):
    role = serializers.ChoiceField(["assistant"], help_text="The author, always the assistant.")
    content = text(help_text="The text of the final answer.")


class RunErrorSerializer(serializers.Serializer[Any]):
    code = text(help_text="A stable code.")
    reason = text(help_text="A sentence for people.")


class ProviderWaitingSerializer(serializers.Serializer[Any]):
    """The wait of a run for its provider, until it is asked again."""

    until = moment(help_text="The moment at which the provider is asked again.")
    reason = text(help_text="Why the provider cannot be asked now.")


class RunSerializer(serializers.Serializer[Any]):
    """The work on one prompt, up to its final message."""

    requestId = text(help_text="The run's id.")
    status = serializers.ChoiceField(RUN_STATUS, help_text="The state of the run.")
    attempt = serializers.IntegerField(help_text="The number of the present attempt; above 1 after a process died.")
    turns = serializers.IntegerField(help_text="Model responses of the run.")
    tokenUsage = TokenUsageSerializer(help_text="Tokens of the run.")
    costUsd = serializers.FloatField(help_text="The cost of the run in US dollars, as far as prices are known.")
    costKnown = serializers.BooleanField(help_text="False when the price of a model is unknown.")
    providerWaiting = ProviderWaitingSerializer(
        allow_null=True, help_text="The wait for a provider; null while the run does not wait for one."
    )
    endReason = text(
        allow_null=True, help_text="The reason of `agent_abort`; null for a run that goes on or completed."
    )
    error = RunErrorSerializer(allow_null=True, help_text="The error that ended the run; null without one.")
    lastMessage = LastMessageSerializer(allow_null=True, help_text="The final answer; null until there is one.")
    endUser = text(allow_null=True, help_text="The client's own user; null without one.")
    metadata = JSONObjectValue(help_text="The labels that the prompt was sent with.")
    createdAt = moment(help_text="The moment at which the prompt was accepted.")
    startedAt = moment(allow_null=True, help_text="The moment at which work began; null while the run is queued.")
    endedAt = moment(allow_null=True, help_text="The moment of the end; null until then.")


class ModelResponseSerializer(serializers.Serializer[Any]):
    """One response of a model."""

    number = serializers.IntegerField(help_text="The number of the request in its run, from 1.")
    model = text(help_text="The model as the provider was asked for it.")
    kind = text(help_text="`session`; others are estimated, unfinished or summaries.")
    tokenUsage = TokenUsageSerializer(help_text="Tokens of the request and the response.")
    costUsd = serializers.FloatField(allow_null=True, help_text="Null when the price of the model is unknown.")
    at = moment(help_text="The moment of its end.")


class ModelResponsesSerializer(serializers.Serializer[Any]):
    """Oldest first."""

    responses = ModelResponseSerializer(many=True, help_text="The responses of the run.")


class RunPageSerializer(serializers.Serializer[Any]):
    """Newest first."""

    runs = RunSerializer(many=True, help_text="The runs of this page.")
    nextCursor = text(allow_null=True, help_text="`cursor` of the next page; null on the last one.")


class MessageCallSerializer(serializers.Serializer[Any]):
    callId = text(help_text="The id of the call.")
    name = text(help_text="The name of the tool.")
    arguments = AnyJSON(help_text="The object, or the raw text when the model did not send a JSON object.")


class MessageSerializer(serializers.Serializer[Any]):
    """One message of the conversation."""

    id = text(help_text="The message's id.")
    role = serializers.ChoiceField(ROLES, help_text="The author; `tool_result` is the result of a tool call.")
    content = text(help_text="The text of the message.")
    toolCalls = MessageCallSerializer(many=True, required=False, help_text="The tool calls of an assistant's message.")
    callId = text(required=False, help_text="The call that a `tool_result` message answers.")
    createdAt = moment(help_text="The moment at which the message was stored.")
    requestId = text(allow_null=True, help_text="The run of the message; null for imported history.")


class MessagePageSerializer(serializers.Serializer[Any]):
    """Oldest first."""

    messages = MessageSerializer(many=True, help_text="The messages of this page.")
    nextCursor = text(allow_null=True, help_text="`cursor` of the next page; null on the last one.")


class ModelTotalsSerializer(TokenUsageSerializer):
    """The usage of one model."""

    turns = serializers.IntegerField(help_text="Responses of the model.")
    costUsd = serializers.FloatField(help_text="The cost in US dollars, as far as prices are known.")
    costKnown = serializers.BooleanField(help_text="False when the price of the model is unknown.")


class StatsSerializer(serializers.Serializer[Any]):
    sessionId = text(help_text="The session's id.")
    turns = serializers.IntegerField(help_text="Model responses so far.")
    totalTokens = serializers.IntegerField(help_text="Tokens of all model requests and responses so far.")
    costUsd = serializers.FloatField(help_text="The cost in US dollars, as far as prices are known.")
    costKnown = serializers.BooleanField(help_text="False when the price of a model is unknown.")
    promptCount = serializers.IntegerField(help_text="Prompts so far.")
    tokenUsage = TokenUsageSerializer(help_text="Tokens so far.")
    toolCalls = serializers.IntegerField(help_text="Tool calls so far.")
    lastEventIndex = StreamPosition(help_text="The position of the stream's newest event.")
    eventBufferCount = serializers.IntegerField(help_text="Events that are still stored.")
    byModel = serializers.DictField(child=ModelTotalsSerializer(), help_text="The usage by model.")


class StatusSerializer(serializers.Serializer[Any]):
    """The state of the session and what it waits for."""

    state = serializers.ChoiceField(SessionState.values, help_text="What the session does or waits for.")
    pendingApprovals = PendingApprovals(help_text="The approvals that the run waits for.")
    pendingQuestions = PendingQuestions(help_text="The questions that the run waits for.")
    pendingTools = PendingTools(help_text="The tool calls that a connected client has to run.")
    queue = serializers.IntegerField(help_text="Prompts that wait for the present run.")
    lastEventIndex = StreamPosition(help_text="The position of the stream's newest event.")
    run = RunSerializer(allow_null=True, help_text="The current run; null when none is active.")


class PromptReceiptSerializer(serializers.Serializer[Any]):
    """The prompt is accepted; its results are in the events."""

    requestId = text(help_text="The run that the prompt started or joined.")
    sessionId = text(help_text="The session's id.")
    queued = serializers.BooleanField(help_text="True when the run waits for the one before it.")


class PromptOutcomeSerializer(PromptReceiptSerializer):
    """The run ended within `wait` seconds."""

    status = serializers.ChoiceField(RUN_STATUS, help_text="The state of the run.")
    lastMessage = LastMessageSerializer(allow_null=True, help_text="The final answer; null for a run without one.")
    tokenUsage = TokenUsageSerializer(help_text="Tokens of the run.")
    costUsd = serializers.FloatField(help_text="The cost of the run in US dollars, as far as prices are known.")
    costKnown = serializers.BooleanField(help_text="False when the price of a model is unknown.")
    endReason = text(allow_null=True, help_text="The reason of `agent_abort`; null for a run that completed.")
    error = RunErrorSerializer(allow_null=True, help_text="The error that ended the run; null without one.")


class AbortReceiptSerializer(serializers.Serializer[Any]):
    requestId = text(help_text="The run that was aborted.")
    sessionId = text(help_text="The session's id.")
    status = serializers.ChoiceField(
        ["aborted"], help_text="Always `aborted`: the event `agent_abort` is already written."
    )


class SteerReceiptSerializer(serializers.Serializer[Any]):
    requestId = text(help_text="The run that the text joins.")
    sessionId = text(help_text="The session's id.")


class SwitchReceiptSerializer(serializers.Serializer[Any]):
    sessionId = text(help_text="The session's id.")
    model = text(help_text="The model that is used from the next leg on.")


class DecisionSerializer(serializers.Serializer[Any]):
    approvalId = text(help_text="The approval that is decided.")
    status = serializers.ChoiceField(["approved", "rejected"], help_text="The decision.")
    remembered = serializers.BooleanField(
        required=False,
        help_text="Where `remember` was asked for. False: a rule of the operator demands a decision about each call.",
    )


class RememberedApprovalSerializer(serializers.Serializer[Any]):
    toolName = text(help_text="The tool whose calls need no approval any more.")
    by = text(help_text="The key or the person that decided.")


class RememberedApprovalsSerializer(serializers.Serializer[Any]):
    tools = RememberedApprovalSerializer(many=True, help_text="A tool each, by name.")


class AnswerReceiptSerializer(serializers.Serializer[Any]):
    ref = text(help_text="The question that is answered.")
    status = serializers.ChoiceField(["answered"], help_text="Always `answered`.")


class ResultReceiptSerializer(serializers.Serializer[Any]):
    callId = text(help_text="The call that has its result.")
    status = serializers.ChoiceField(["accepted"], help_text="Always `accepted`.")


class ToolSerializer(serializers.Serializer[Any]):
    """A registered tool, without its secret."""

    name = text(help_text="The name by which the model calls the tool.")
    description = text(help_text="What the tool does, as the model is told.")
    parameters = JSONObjectValue(help_text="A JSON Schema object.")
    callbackUrl = text(allow_null=True, help_text="The address that runs the tool; null: the connected client does.")
    timeoutMs = serializers.IntegerField(help_text="The time that a call may take, in milliseconds.")
    requiresApproval = serializers.BooleanField(help_text="Whether a person has to approve every call.")
    hint = text(allow_null=True, help_text="A sentence for the person who approves; null without one.")
    idempotent = serializers.BooleanField(help_text="Whether a call may be repeated after a crash in its middle.")
    createdAt = moment(help_text="The moment of registration.")


class ToolPageSerializer(serializers.Serializer[Any]):
    tools = ToolSerializer(many=True, help_text="The session's registered tools, by name.")


class ToolTestResultSerializer(serializers.Serializer[Any]):
    status = serializers.ChoiceField(
        ["ok", "error", "timeout", "unknown", "accepted"],
        help_text="How the call ended; `accepted` when the result comes later.",
    )
    result = text(help_text="The result, or what went wrong.")
    durationMs = serializers.IntegerField(help_text="The duration of the call in milliseconds.")

    class Meta:
        ref_name = "ToolTrial"
        """The component's name in the document."""


class StreamTokenSerializer(serializers.Serializer[Any]):
    """A read-only token for one session."""

    token = text(help_text="The token for `?token=`; it is shown once.")
    expiresAt = moment(help_text="The first connection has to be made before this.")


class UsageRowSerializer(serializers.Serializer[Any]):
    """`day`, `key` and `model` are present when the report is grouped by them."""

    day = serializers.DateField(required=False, help_text="The day, in UTC.")
    key = text(required=False, allow_null=True, help_text="The name of the API key; null for a key that was deleted.")
    model = text(required=False, help_text="The model as the provider was asked for it.")
    prompts = serializers.IntegerField(help_text="Prompts and relayed requests.")
    turns = serializers.IntegerField(help_text="Model responses.")
    promptTokens = serializers.IntegerField(help_text="Tokens of the requests.")
    completionTokens = serializers.IntegerField(help_text="Tokens of the responses, reasoning included.")
    cachedTokens = serializers.IntegerField(help_text="Those of `promptTokens` that the provider read from its cache.")
    reasoningTokens = serializers.IntegerField(help_text="Those of `completionTokens` that are reasoning.")
    costUsd = serializers.FloatField(help_text="The cost in US dollars, as far as prices are known.")
    costKnown = serializers.BooleanField(help_text="False when the price of a model is unknown.")
    estimatedTurns = serializers.IntegerField(help_text="Those of `turns` whose tokens no provider reported.")


class UsageSerializer(serializers.Serializer[Any]):
    """Newest day first."""

    usage = UsageRowSerializer(many=True, help_text="A row for each combination of the groups.")


class WaitSerializer(serializers.Serializer[Any]):
    """An approval or a question that waits for a person, with its session."""

    kind = serializers.ChoiceField(["approval", "question"], help_text="Whether a decision or an answer is needed.")
    sessionId = text(help_text="The session that waits.")
    title = text(allow_null=True, help_text="The title of the session; null without one.")
    agent = text(allow_null=True, help_text="The configured agent; null without one.")
    model = text(help_text="The model of the session.")
    requestId = text(help_text="The run that waits.")
    since = moment(help_text="The moment from which it waits.")
    expiresAt = moment(allow_null=True, help_text="The moment at which the wait ends by itself; null for none.")
    approval = WaitingApproval(help_text="The data of `approval_required`; null for a question.")
    question = WaitingQuestion(help_text="The data of `ask_user`; null for an approval.")


class InboxPageSerializer(serializers.Serializer[Any]):
    """Waits in the order in which they expire."""

    waits = WaitSerializer(many=True, help_text="The open waits of this page.")
    total = serializers.IntegerField(help_text=f"All open waits; {MOST_COUNTED} stands for as many or more.")
    nextCursor = text(allow_null=True, help_text="`cursor` of the next page; null on the last one.")
