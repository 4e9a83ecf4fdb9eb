"""Request bodies of the native REST face and of socket actions: shapes and limits, no queries and no decisions.

Fields have the names that clients send; `source` is the name in the service that takes the value.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from django.conf import settings
from rest_framework import serializers

from agents_app.engine import Attachment
from core_app.errors import Unprocessable
from core_app.guarded_client import MAX_URL_CHARACTERS
from edge_app.rest.fields import JSONObject, StrictBoolean, StrictInteger, StrictPattern, StrictString
from edge_app.rest.query import parse_instant
from sessions_app.events import WEBHOOK_EVENTS
from sessions_app.services.history import MAX_IMPORTED, ImportedMessage
from sessions_app.services.prompt import Prompt
from sessions_app.services.session import SessionRequest
from tenants_app.principal import SCOPES
from tools_app.mcp.names import MAX_SERVER_CHARACTERS
from tools_app.mcp.services import AUTH, TIMEOUT_MS
from tools_app.types import PlannedCall

SESSION_ID = r"[A-Za-z0-9_-]{1,64}"
MAX_TEXT = 1024 * 1024
MAX_INSTANT = 40
MAX_SCHEMA_BYTES = 64 * 1024
SERVER_SIDE = ("plugins", "blueprint", "workingDir", "skillsDirs")
"""CMDC's fields for settings that are the operator's here. Accepted when empty."""


class ToolEntry(serializers.Field[Any, Any, Any, Any]):
    """The name of a built-in tool, or an inline registration, which `tools_app.registry` checks."""

    default_error_messages = {"invalid": "A tool is the name of a built-in tool or a registration object."}

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, str | dict):
            self.fail("invalid")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class ImportedCallSerializer(serializers.Serializer[Any]):
    """A tool call of an imported assistant message."""

    callId = StrictString(max_length=40)
    name = StrictString(max_length=64)
    arguments = JSONObject(max_bytes=256 * 1024)


class ImportedMessageSerializer(serializers.Serializer[Any]):
    """A message of history from before the session."""

    role = serializers.ChoiceField(["user", "assistant", "tool_result"])
    content = StrictString(allow_blank=True, max_length=MAX_TEXT)
    toolCalls = serializers.ListField(child=ImportedCallSerializer(), required=False, allow_null=True, max_length=128)
    callId = StrictString(required=False, allow_null=True, max_length=40)
    endUser = StrictString(required=False, allow_null=True, max_length=200)


class SessionCreateSerializer(serializers.Serializer[Any]):
    """POST /v1/sessions."""

    model = StrictString(required=False, allow_null=True, max_length=200)
    agent = StrictString(required=False, allow_null=True, max_length=200)
    sessionId = StrictPattern(SESSION_ID, required=False, allow_null=True, source="public_id")
    systemPrompt = StrictString(
        required=False, allow_null=True, allow_blank=True, max_length=MAX_TEXT, source="system_prompt"
    )
    maxTurns = StrictInteger(required=False, allow_null=True, min_value=1, max_value=10_000, source="max_turns")
    maxTokens = StrictInteger(required=False, allow_null=True, min_value=1, max_value=10_000_000, source="max_tokens")
    providerOpts = JSONObject(required=False, allow_null=True, source="options")
    tools = serializers.ListField(child=ToolEntry(), required=False, allow_null=True, max_length=128)
    userData = JSONObject(required=False, allow_null=True, source="user_data")
    metadata = JSONObject(required=False, allow_null=True)
    groupId = StrictPattern(SESSION_ID, required=False, allow_null=True, source="group_id")
    title = StrictString(required=False, allow_null=True, max_length=200)
    responseFormat = JSONObject(required=False, allow_null=True, max_bytes=MAX_SCHEMA_BYTES, source="response_format")
    historyPolicy = serializers.ChoiceField(
        ["error", "truncate", "summarize"], required=False, allow_null=True, source="history_policy"
    )
    outagePolicy = serializers.ChoiceField(["wait", "fail"], required=False, allow_null=True, source="outage_policy")
    approvals = serializers.DictField(
        child=serializers.ChoiceField(["always", "never"]), required=False, allow_null=True
    )

    messages = serializers.ListField(
        child=ImportedMessageSerializer(), required=False, allow_null=True, max_length=MAX_IMPORTED
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for name in SERVER_SIDE:
            if self.initial_data.get(name):
                raise Unprocessable(f"'{name}' is set by the operator of the gateway.", field=name)
        return attrs

    def to_request(self) -> SessionRequest:
        """Returns the validated values; fields that are absent or null take their defaults."""
        values = {name: value for name, value in self.validated_data.items() if value is not None}
        values["messages"] = [_imported_message(message) for message in values.get("messages", ())]
        return SessionRequest(**values)


def _imported_message(message: dict[str, Any]) -> ImportedMessage:
    calls = tuple(
        PlannedCall(call["callId"], call["name"], call["arguments"]) for call in message.get("toolCalls") or ()
    )
    return ImportedMessage(
        message["role"], message["content"], calls, message.get("callId"), end_user=message.get("endUser")
    )


class SessionPatchSerializer(serializers.Serializer[Any]):
    """PATCH /v1/sessions/:id; null removes `title` and `groupId`."""

    systemPrompt = StrictString(required=False, allow_blank=True, max_length=MAX_TEXT, source="system_prompt")
    userData = JSONObject(required=False, source="user_data")
    groupId = StrictPattern(SESSION_ID, required=False, allow_null=True, source="group_id")
    title = StrictString(required=False, allow_null=True, max_length=200)
    tools = serializers.ListField(child=StrictString(max_length=64), required=False, max_length=128)
    outagePolicy = serializers.ChoiceField(["wait", "fail"], required=False, source="outage_policy")


class AttachmentSerializer(serializers.Serializer[Any]):
    """An image, audio or file of a prompt: `data` (base64) or `url`."""

    type = serializers.ChoiceField(["image", "audio", "file"])
    mediaType = StrictPattern(r"[a-z]+/[A-Za-z0-9.+_-]{1,80}")
    name = StrictString(required=False, allow_null=True, max_length=200)
    data = StrictString(required=False, allow_null=True)  # type: ignore[assignment]  # a field, not the property
    url = StrictString(required=False, allow_null=True, max_length=2000)

    def validate_data(self, value: str | None) -> bytes | None:
        try:
            return base64.b64decode(value, validate=True) if value is not None else None
        except (binascii.Error, ValueError):
            raise serializers.ValidationError("This is not base64.") from None

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs.get("data") is None) == (attrs.get("url") is None):
            raise serializers.ValidationError({"data": "An attachment has either 'data' or 'url'."})
        return attrs


class PromptSerializer(serializers.Serializer[Any]):
    """POST /v1/sessions/:id/prompt."""

    text = StrictString(max_length=MAX_TEXT)
    attachments = serializers.ListField(child=AttachmentSerializer(), required=False, allow_null=True, max_length=32)
    metadata = JSONObject(required=False, allow_null=True)
    whenBusy = serializers.ChoiceField(
        ["enqueue", "reject", "interrupt", "steer"], required=False, allow_null=True, default="enqueue"
    )
    endUser = StrictString(required=False, allow_null=True, max_length=200)

    def validate_attachments(self, value: list[dict[str, Any]] | None) -> list[dict[str, Any]]:
        total = sum(len(part.get("data") or b"") for part in value or ())
        if total > settings.GATEWAY_MAX_ATTACHMENT_BYTES:
            limit = settings.GATEWAY_MAX_ATTACHMENT_BYTES
            raise serializers.ValidationError(f"Together at most {limit} bytes (GATEWAY_MAX_ATTACHMENT_BYTES).")
        return value or []

    def to_prompt(self) -> Prompt:
        """Returns the validated values."""
        data = self.validated_data
        return Prompt(
            text=data["text"],
            attachments=tuple(
                Attachment(part["type"], part["mediaType"], part.get("name"), part.get("data"), part.get("url"))
                for part in data.get("attachments") or ()
            ),
            metadata=data.get("metadata") or {},
            when_busy=data["whenBusy"] or "enqueue",
            end_user=data.get("endUser"),
        )


class ApproveSerializer(serializers.Serializer[Any]):
    """POST …/approve."""

    approvalId = StrictString(max_length=64)
    argsHash = StrictString(required=False, allow_null=True, max_length=128)
    args = JSONObject(required=False, allow_null=True, max_bytes=256 * 1024)
    comment = StrictString(required=False, allow_null=True, allow_blank=True, max_length=10_000)
    remember = serializers.ChoiceField(
        choices=["session", "tool"],
        required=False,
        allow_null=True,
        help_text="The approval stands for later calls of this tool in this session; both values mean that.",
    )


class RejectSerializer(serializers.Serializer[Any]):
    """POST …/reject."""

    approvalId = StrictString(max_length=64)
    reason = StrictString(required=False, allow_null=True, allow_blank=True, max_length=10_000)


class RespondSerializer(serializers.Serializer[Any]):
    """POST …/respond."""

    ref = StrictString(max_length=64)
    response = StrictString(max_length=256 * 1024, allow_blank=True)


class ToolResultSerializer(serializers.Serializer[Any]):
    """POST …/tool-results: `result` (any JSON) or `error` (text)."""

    callId = StrictString(max_length=64)
    result = serializers.JSONField(required=False, allow_null=True)
    error = StrictString(required=False, allow_null=True, max_length=256 * 1024)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("error") is None and "result" not in attrs:
            raise serializers.ValidationError({"result": "A result has 'result' or 'error'."})
        return attrs


class AbortSerializer(serializers.Serializer[Any]):
    """POST …/abort."""

    reason = StrictString(required=False, allow_null=True, allow_blank=True, max_length=1000)


class SteerSerializer(serializers.Serializer[Any]):
    """POST …/steer."""

    text = StrictString(max_length=MAX_TEXT)


class SwitchModelSerializer(serializers.Serializer[Any]):
    """POST …/switch_model."""

    model = StrictString(max_length=200)


class ForkSerializer(serializers.Serializer[Any]):
    """POST …/fork."""

    messageId = StrictString(max_length=64)
    sessionId = StrictPattern(SESSION_ID, required=False, allow_null=True)
    title = StrictString(required=False, allow_null=True, max_length=200)


class WebhookPatchSerializer(serializers.Serializer[Any]):
    """PATCH /v1/webhooks/:id."""

    url = StrictString(required=False, max_length=MAX_URL_CHARACTERS, help_text="https only.")
    events = serializers.ListField(child=StrictString(max_length=40), required=False, min_length=1, max_length=20)
    description = StrictString(required=False, allow_blank=True, max_length=200)
    disabled = StrictBoolean(required=False)


class WebhookCreateSerializer(serializers.Serializer[Any]):
    """POST /v1/webhooks."""

    url = StrictString(max_length=MAX_URL_CHARACTERS, help_text="https only.")
    events = serializers.ListField(
        child=StrictString(max_length=40),
        min_length=1,
        max_length=20,
        help_text=f"One or more of {', '.join(WEBHOOK_EVENTS)}.",
    )
    description = StrictString(required=False, allow_blank=True, max_length=200)


class InstantField(StrictString):
    """An ISO 8601 date and time; without an offset it is UTC."""

    def to_internal_value(self, data: Any) -> Any:
        text = super().to_internal_value(data)
        instant = parse_instant(text) if len(text) <= MAX_INSTANT else None
        if instant is None:
            raise serializers.ValidationError("This must be an ISO 8601 date and time.")
        return instant


class KeyCreateSerializer(serializers.Serializer[Any]):
    """POST /v1/keys."""

    name = StrictString(max_length=100)
    scopes = serializers.ListField(
        child=StrictString(max_length=40),
        max_length=len(SCOPES),
        help_text="What the key may do; only scopes that the caller has.",
    )
    rpm = StrictInteger(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=1_000_000,
        help_text="Requests per minute; null: GATEWAY_RATE_LIMIT_RPM. No more than the caller's own.",
    )
    expiresAt = InstantField(required=False, allow_null=True)


class McpServerFields(serializers.Serializer[Any]):
    """The fields of an MCP server that may be changed."""

    url = StrictString(required=False, max_length=MAX_URL_CHARACTERS, help_text="https only.")
    description = StrictString(required=False, allow_blank=True, max_length=200)
    auth = StrictString(required=False, max_length=10, help_text=f"One of {', '.join(AUTH)}.")
    headers = JSONObject(required=False, max_bytes=64 * 1024, help_text="Of auth `header`; never shown again.")
    scope = StrictString(required=False, allow_blank=True, max_length=1000, help_text="Of auth `oauth`.")
    clientId = StrictString(required=False, source="client_id", allow_blank=True, max_length=1000)
    clientSecret = StrictString(
        required=False, source="client_secret", allow_blank=True, max_length=1000, help_text="Never shown again."
    )
    requiresApproval = StrictBoolean(required=False, source="requires_approval")
    timeoutMs = StrictInteger(
        required=False, source="timeout_ms", min_value=TIMEOUT_MS.start, max_value=TIMEOUT_MS.stop - 1
    )
    enabled = StrictBoolean(required=False)


class McpServerPatchSerializer(McpServerFields):
    """PATCH /v1/mcp-servers/:name."""


class McpServerCreateSerializer(McpServerFields):
    """POST /v1/mcp-servers."""

    name = StrictString(max_length=MAX_SERVER_CHARACTERS)
    url = StrictString(max_length=MAX_URL_CHARACTERS, help_text="https only.")
