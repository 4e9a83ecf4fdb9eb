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
from core_app.guarded_client import MAX_URL_CHARACTERS
from edge_app.rest.fields import JSONObject, StrictBoolean, StrictChoice, StrictInteger, StrictPattern, StrictString
from edge_app.rest.query import parse_instant
from faces.native.session_serializers import MAX_TEXT, SESSION_ID
from sessions_app.events import WEBHOOK_EVENTS
from sessions_app.services.prompt import Prompt
from tenants_app.principal import SCOPES
from tools_app.decisions import MAX_COMMENT_CHARACTERS, MAX_RESPONSE_CHARACTERS
from tools_app.mcp.names import MAX_SERVER_CHARACTERS, SERVER_NAME
from tools_app.mcp.services import AUTH, TIMEOUT_MS

MAX_INSTANT = 40


class AttachmentSerializer(serializers.Serializer[Any]):
    """An image, audio or file of a prompt: `data` (base64) or `url`."""

    document_rules = {
        "oneOf": [
            {"required": [given], "properties": {given: {"type": "string"}, absent: {"type": "null"}}}
            for given, absent in (("data", "url"), ("url", "data"))
        ]
    }

    type = serializers.ChoiceField(
        ["image", "audio", "file"],
        help_text="The kind of content; the model has to take it, or the prompt is refused with 422.",
    )
    mediaType = StrictPattern(r"[a-z]+/[A-Za-z0-9.+_-]{1,80}", help_text="The media type, such as `image/png`.")
    name = StrictString(
        required=False,
        allow_null=True,
        max_length=200,
        help_text="A file name, shown to the model where its provider takes one.",
    )
    data = StrictString(
        required=False, allow_null=True, help_text="The content in base64; either `data` or `url` is given."
    )  # type: ignore[assignment]  # a field, not the property
    url = StrictString(
        required=False,
        allow_null=True,
        max_length=2000,
        help_text="An https address from which the content is fetched; private addresses are refused.",
    )

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

    text = StrictString(max_length=MAX_TEXT, help_text="The text of the prompt.")
    attachments = serializers.ListField(
        child=AttachmentSerializer(),
        required=False,
        allow_null=True,
        max_length=32,
        help_text="Images, audio and files that go to the model with the text.",
    )
    metadata = JSONObject(
        required=False,
        allow_null=True,
        help_text="Labels of the client's own, kept with the run and never sent to a model.",
    )
    whenBusy = serializers.ChoiceField(
        ["enqueue", "reject", "interrupt", "steer"],
        required=False,
        allow_null=True,
        default="enqueue",
        help_text="What happens while another run is active: queue the prompt, refuse it, abort"
        " the run, or add the text to the run.",
    )
    endUser = StrictString(
        required=False,
        allow_null=True,
        max_length=200,
        help_text="An id of the client's own user, kept with the run, in the usage and for erasure.",
    )

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

    approvalId = StrictString(max_length=64, help_text="The approval, from the event `approval_required`.")
    argsHash = StrictString(
        required=False,
        allow_null=True,
        max_length=128,
        help_text="The hash of the arguments that the person saw; with other arguments the"
        " decision is refused with 409.",
    )
    args = JSONObject(
        required=False,
        allow_null=True,
        max_bytes=256 * 1024,
        help_text="Arguments to run the tool with in place of the model's.",
    )
    comment = StrictString(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=MAX_COMMENT_CHARACTERS,
        help_text="A remark that is kept with the decision.",
    )
    remember = StrictChoice(
        ["session", "tool"],
        required=False,
        allow_null=True,
        help_text="The approval stands for later calls of this tool in this session; both values mean that.",
    )


class RejectSerializer(serializers.Serializer[Any]):
    """POST …/reject."""

    approvalId = StrictString(max_length=64, help_text="The approval, from the event `approval_required`.")
    reason = StrictString(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=MAX_COMMENT_CHARACTERS,
        help_text="The reason, which the model is told.",
    )


class RespondSerializer(serializers.Serializer[Any]):
    """POST …/respond."""

    ref = StrictString(max_length=64, help_text="The question, from the event `ask_user`.")
    response = StrictString(
        max_length=MAX_RESPONSE_CHARACTERS, help_text="The answer: a text, or the id of one of the options."
    )


class ToolResultSerializer(serializers.Serializer[Any]):
    """POST …/tool-results: `result` (any JSON) or `error` (text)."""

    document_rules = {
        "anyOf": [{"required": ["result"]}, {"required": ["error"], "properties": {"error": {"type": "string"}}}]
    }

    callId = StrictString(max_length=64, help_text="The call, from the event `tool_call_requested`.")
    result = serializers.JSONField(required=False, allow_null=True, help_text="The result: a text or any other JSON.")
    error = StrictString(
        required=False,
        allow_null=True,
        max_length=256 * 1024,
        help_text="What went wrong, in place of a result; the model is told.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs.get("error") is None and "result" not in attrs:
            raise serializers.ValidationError({"result": "A result has 'result' or 'error'."})
        return attrs


class AbortSerializer(serializers.Serializer[Any]):
    """POST …/abort."""

    reason = StrictString(
        required=False,
        allow_null=True,
        allow_blank=True,
        max_length=1000,
        help_text="The reason, which `agent_abort` has as its message.",
    )


class SteerSerializer(serializers.Serializer[Any]):
    """POST …/steer."""

    text = StrictString(max_length=MAX_TEXT, help_text="The text that joins the run before its next model request.")


class SwitchModelSerializer(serializers.Serializer[Any]):
    """POST …/switch_model."""

    model = StrictString(max_length=200, help_text="The model that the session uses from the next leg on.")


class ForkSerializer(serializers.Serializer[Any]):
    """POST …/fork."""

    messageId = StrictString(
        max_length=64,
        help_text="The last message that the new session has: a user's message, or a final one of the assistant.",
    )
    sessionId = StrictPattern(
        SESSION_ID,
        required=False,
        allow_null=True,
        help_text="The id of the new session; by default the gateway makes one.",
    )
    title = StrictString(required=False, allow_null=True, max_length=200, help_text="The title of the new session.")


class EventType(StrictString):
    """A type of event. The service refuses one that webhooks do not have, and names those that they have."""


class WebhookPatchSerializer(serializers.Serializer[Any]):
    """PATCH /v1/webhooks/:id."""

    url = StrictString(
        required=False, max_length=MAX_URL_CHARACTERS, help_text="The address that receives the events; https only."
    )
    events = serializers.ListField(
        child=EventType(max_length=40),
        required=False,
        min_length=1,
        max_length=20,
        help_text="The event types to send, in place of those before.",
    )
    description = StrictString(required=False, allow_blank=True, max_length=200, help_text="A note for people.")
    disabled = StrictBoolean(required=False, help_text="Stops the deliveries, or resumes them.")


class WebhookCreateSerializer(serializers.Serializer[Any]):
    """POST /v1/webhooks."""

    url = StrictString(max_length=MAX_URL_CHARACTERS, help_text="The address that receives the events; https only.")
    events = serializers.ListField(
        child=EventType(max_length=40),
        min_length=1,
        max_length=20,
        help_text=f"One or more of {', '.join(WEBHOOK_EVENTS)}.",
    )
    description = StrictString(required=False, allow_blank=True, max_length=200, help_text="A note for people.")


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

    name = StrictString(max_length=100, help_text="The key's name, for people, reports and the audit trail.")
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
    expiresAt = InstantField(
        required=False, allow_null=True, help_text="The moment from which the key is refused; null for never."
    )


class McpServerFields(serializers.Serializer[Any]):
    """The fields of an MCP server that may be changed."""

    url = StrictString(
        required=False,
        max_length=MAX_URL_CHARACTERS,
        help_text="The address of the server's streamable HTTP endpoint; https only.",
    )
    description = StrictString(required=False, allow_blank=True, max_length=200, help_text="A note for people.")
    auth = StrictChoice(AUTH, required=False, help_text="How the gateway signs in at the server.")
    headers = JSONObject(
        required=False,
        max_bytes=64 * 1024,
        help_text="Headers of requests to the server, of auth `header`; they are never shown again.",
    )
    scope = StrictString(
        required=False,
        allow_blank=True,
        max_length=1000,
        help_text="The scope to ask the authorization server for, of auth `oauth`.",
    )
    clientId = StrictString(
        required=False,
        source="client_id",
        allow_blank=True,
        max_length=1000,
        help_text="The client's id at the authorization server, where it does not register clients itself.",
    )
    clientSecret = StrictString(
        required=False,
        source="client_secret",
        allow_blank=True,
        max_length=1000,
        help_text="The client's secret at the authorization server; it is never shown again.",
    )
    requiresApproval = StrictBoolean(
        required=False,
        source="requires_approval",
        help_text="Whether a person has to approve every call of the server's tools.",
    )
    timeoutMs = StrictInteger(
        required=False,
        source="timeout_ms",
        min_value=TIMEOUT_MS.start,
        max_value=TIMEOUT_MS.stop - 1,
        help_text="The time that a call may take, in milliseconds.",
    )
    enabled = StrictBoolean(required=False, help_text="Whether sessions may use the server.")


class McpServerPatchSerializer(McpServerFields):
    """PATCH /v1/mcp-servers/:name."""


class McpServerCreateSerializer(McpServerFields):
    """POST /v1/mcp-servers."""

    name = StrictPattern(
        SERVER_NAME.pattern.removeprefix(r"\A").removesuffix(r"\Z"),
        max_length=MAX_SERVER_CHARACTERS,
        help_text="The name by which sessions use the server, as `mcp:<name>`.",
    )
    url = StrictString(
        max_length=MAX_URL_CHARACTERS, help_text="The address of the server's streamable HTTP endpoint; https only."
    )
